"""A browser for tests: Debian's chromium, driven over its DevTools protocol.

One process and one tab for all; `look` opens a page at a width and in a mode, and tells what a
reader would see of it. Nothing is fetched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

MEASURE = """(() => {
  const wide = document.documentElement.scrollWidth;
  const tabbable = [...document.querySelectorAll(
    'a[href], button, input:not([disabled]), summary, [tabindex="0"]')]
    .filter((node) => node.checkVisibility());
  return JSON.stringify({
    height: document.documentElement.scrollHeight,
    overflow: wide - window.innerWidth,
    controls: tabbable.length,
    loaded: performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart,
  });
})()"""
FOCUSED = """(() => {
  const node = document.activeElement;
  if (node === document.body) return "";
  const style = getComputedStyle(node);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const all = [...document.querySelectorAll("*")];
  return `${all.indexOf(node)} ${seen} ${node.tagName} ${node.className}`;
})()"""


def chromium() -> str | None:
    """Return where the browser is, if there is one, and what drives it."""
    try:
        import websockets  # noqa: F401
    except ImportError:
        return None
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Look:
    """What was seen of a page."""

    height: int
    overflow: int
    """Pixels that it is wider than the window."""
    controls: int
    """What the Tab key should reach."""
    seconds: float
    """From opening until it could be used."""
    messages: list[str] = field(default_factory=list)
    """Errors, warnings and violations of the page's policy."""
    unnamed: list[str] = field(default_factory=list)
    """Pictures and controls without a name in the accessibility tree."""


class Browser:
    """One tab of a headless chromium."""

    def __init__(self, folder: Path) -> None:
        from websockets.sync.client import connect

        program = chromium()
        assert program is not None
        flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
        command = [program, *flags.split(), "--remote-debugging-port=0", "about:blank"]
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={folder}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder)},
        )
        self.events: list[dict] = []
        self.count = 0
        try:
            port, path = self._address(folder / "DevToolsActivePort")
            self.socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            self.session = None
            attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
            self.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Accessibility"):
                self.send(f"{domain}.enable")
        except BaseException:
            self.process.kill()
            raise

    session: str | None = None

    def _address(self, file: Path) -> tuple[str, str]:
        for _ in range(600):
            if file.exists() and len(lines := file.read_text().split("\n")) >= 2 and lines[1]:
                return lines[0], lines[1]
            time.sleep(0.05)
        raise TimeoutError("chromium did not say where it listens.")

    def send(self, method: str, **parameters: object) -> dict:
        """Ask for something, and wait for the answer; what happens meanwhile is kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") != self.count:
                self.events.append(answer)
                continue
            assert "error" not in answer, answer
            return answer["result"]

    def run(self, script: str):
        """Run a script in the page, and return its value."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(
        self, page: Path, width: int = 1300, *, dark: bool = False, runs: bool = True
    ) -> Look:
        """Open a page, and tell what is seen of it.

        Arguments:
            page: The file.
            width: Of the window, CSS pixels.
            dark: Whether the reader likes it dark.
            runs: Whether scripts run.
        """
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **screen)
        mode = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[mode])
        self.send("Emulation.setScriptExecutionDisabled", value=not runs)
        self.events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv(timeout=60)))
        values = json.loads(self.run(MEASURE))
        values["seconds"] = values.pop("loaded") / 1000
        return Look(**values, unnamed=self.unnamed(), messages=self.messages())

    def messages(self) -> list[str]:
        """Return the errors and the violations since the page was opened."""
        texts = []
        for event in self.events:
            values = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                texts.append(str(values["exceptionDetails"]))
            if event.get("method") == "Log.entryAdded":
                texts.append(values["entry"]["text"])
            if event.get("method") == "Runtime.consoleAPICalled":
                texts.append(str(values["args"]))
        return texts

    def unnamed(self) -> list[str]:
        """Return the roles of pictures and controls that a screen reader has no name for."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        roles = {
            "image",
            "img",
            "button",
            "link",
            "slider",
            "searchbox",
            "Canvas",
            "DisclosureTriangle",
        }
        return [
            str(node)
            for node in nodes
            if not node.get("ignored")
            and node["role"]["value"] in roles
            and not node.get("name", {}).get("value", "").strip()
        ]

    def press(self, key: str, code: int) -> None:
        """Press a key and let it go."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="rawKeyDown", **about)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def tabbed(self, most: int) -> list[str]:
        """Press Tab until it leaves the page; say of each stop what it is, and if it is seen."""
        self.run("document.activeElement.blur()")
        stops = []
        for _ in range(most):
            self.press("Tab", 9)
            stop = self.run(FOCUSED)
            if not stop or stop in stops:
                break
            stops.append(stop)
        return stops

    def picture(self, file: Path) -> None:
        """Write what the whole page looks like."""
        import base64

        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def printed(self) -> bytes:
        """Return the page as it is printed: a PDF."""
        import base64

        return base64.b64decode(self.send("Page.printToPDF")["data"])

    def close(self) -> None:
        """End the browser."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=30)
