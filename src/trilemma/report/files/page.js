// Folds a page, sorts and sifts its table, looks priorities up, and plays "real or not?".
// Everything is in the page already; without scripts it lies open, and nothing is missing.
(() => {
  "use strict";
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const make = (tag, text = "", attributes = {}) => {
    const node = document.createElement(tag);
    node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };

  // Folds: closed at first, but for one that the address names; all open on paper.
  const folds = all("details.fold");
  const unfold = () => {
    let target = null;
    try {
      target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      return; // an address that is no text names nothing
    }
    const fold = target && target.closest("details");
    if (fold) {
      fold.open = true;
      target.scrollIntoView();
    }
  };
  for (const fold of folds) fold.open = false;
  window.addEventListener("hashchange", unfold);
  unfold();
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = folds.filter((fold) => !fold.open);
    for (const fold of closed) fold.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const fold of closed) fold.open = false;
  });

  // The table of all figures.
  const values = (row, i) => {
    const text = row.cells[i].dataset.value;
    return text === undefined ? NaN : Number(text);
  };
  const compare = (i, down) => (a, b) => {
    if (i === 0) return (down ? -1 : 1) * a.cells[0].innerText.localeCompare(b.cells[0].innerText);
    const [x, y] = [values(a, i), values(b, i)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    return down ? y - x : x - y;
  };
  const sortable = (table) => {
    const heads = all("thead tr:last-child th", table);
    const body = table.tBodies[0];
    heads.forEach((head, i) => {
      const button = make("button", "", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        body.append(...[...body.rows].sort(compare(i, down)));
      });
    });
  };
  const grouped = (table) => {
    for (const head of all("tr.group th[data-group]", table)) {
      const group = head.dataset.group;
      const cells = all(`[data-group="${CSS.escape(group)}"]`, table);
      const more = cells.filter((cell) => "more" in cell.dataset);
      const span = head.colSpan;
      const hidden = all("thead tr:last-child th[data-more]", table).filter((cell) =>
        more.includes(cell),
      ).length;
      if (!hidden) continue;
      const button = make("button", head.textContent, { type: "button" });
      const show = (open) => {
        button.setAttribute("aria-expanded", String(open));
        button.textContent = `${head.dataset.title} ${open ? "−" : `+${hidden}`}`;
        head.colSpan = open ? span : span - hidden;
        for (const cell of more) cell.hidden = !open;
      };
      head.dataset.title = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        show(button.getAttribute("aria-expanded") === "false");
      });
      show(false);
    }
  };
  const sifted = (table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 4) return;
    const label = make("label", "Name or family ", { class: "sift" });
    const input = make("input", "", { type: "search" });
    const count = make("span", "", { role: "status", class: "small" });
    input.addEventListener("input", () => {
      const word = input.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.dataset.words.includes(word);
      const n = rows.filter((row) => !row.hidden).length;
      count.textContent = word ? ` ${n} of ${rows.length}` : "";
    });
    label.append(input, count);
    table.closest(".scroll").before(label);
  };
  // What stands at a figure's tip is also said below the table, for fingers and keys.
  const explained = (table) => {
    const line = make("p", "", { class: "tip small", "aria-live": "polite" });
    table.closest(".scroll").after(line);
    const names = all("thead tr:last-child th", table).map((head) => head.innerText.trim());
    const say = (cell) => {
      const row = cell.parentElement;
      const head = table.tHead.rows[1].cells[cell.cellIndex];
      const tip = [row.cells[0].innerText.split("\n")[0], names[cell.cellIndex], cell.title];
      line.textContent = `${tip.filter(Boolean).join(": ")}. ${head.title}`;
    };
    const cells = all("tbody td[title]", table);
    for (const cell of cells) {
      cell.tabIndex = cell === cells[0] ? 0 : -1;
      cell.addEventListener("mouseenter", () => say(cell));
      cell.addEventListener("focus", () => say(cell));
    }
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    table.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td");
      const step = steps[event.key];
      if (!cell || !step) return;
      event.preventDefault();
      const rows = all("tbody tr", table).filter((row) => !row.hidden);
      let [y, x] = [rows.indexOf(cell.parentElement), cell.cellIndex];
      for (;;) {
        y += step[0];
        x += step[1];
        const next = rows[y] && rows[y].cells[x];
        if (!next || x === 0) return;
        if (next.hidden || !next.title) continue;
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
        return;
      }
    });
  };
  for (const table of all("table.figures")) {
    explained(table);
    grouped(table);
    sortable(table);
    sifted(table);
  }

  // Priorities: answers that were worked out before are looked up, and none is worked out here.
  for (const box of all(".priorities")) {
    const { axes, available, steps, grid, answers } = JSON.parse(
      box.querySelector("script").textContent,
    );
    const answer = make("p", "", { class: "answer", role: "status" });
    const inputs = axes.map((axis, i) => {
      const label = make("label", `${axis[0].toUpperCase()}${axis.slice(1)} `);
      const input = make("input", "", { type: "range", min: 0, max: steps - 1, step: 1 });
      const shown = make("output");
      input.value = i === 0 ? steps - 1 : 0;
      input.disabled = !available.includes(axis);
      label.append(input, shown);
      box.append(label);
      return [input, shown];
    });
    const look = () => {
      let place = 0;
      for (const [input, shown] of inputs) {
        place = place * steps + Number(input.value);
        shown.textContent = input.disabled ? "not ranked" : `${input.value} of ${steps - 1}`;
      }
      answer.textContent = answers[grid[place]];
    };
    for (const [input] of inputs) input.addEventListener("input", look);
    box.prepend(make("h3", "What matters to you?"));
    box.append(
      answer,
      make(
        "p",
        "The answer is the model than which, so weighed, the fewest others are certainly better. " +
          "What forbids the verdict a choice forbids it here.",
        { class: "small" },
      ),
    );
    look();
  }

  // Real or not?
  const ROUNDS = 20;
  const shuffled = (items) => {
    const order = [...items];
    for (let i = order.length - 1; i > 0; i -= 1) {
      const j = Math.floor(Math.random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  };
  const examples = (figure) => {
    const image = figure.querySelector("img[data-tiles]");
    if (!image) return [];
    const n = Number(image.dataset.tiles.split(" ")[4]);
    const name = figure.classList.contains("real") ? "" : figure.dataset.name;
    return Array.from({ length: n }, (_, i) => ({ image, i, name }));
  };
  const deal = (section) => {
    const figures = all("figure", section);
    const real = figures.filter((figure) => figure.classList.contains("real")).flatMap(examples);
    const models = figures
      .filter((figure) => !figure.classList.contains("real"))
      .map((figure) => shuffled(examples(figure)))
      .filter((tiles) => tiles.length);
    if (!real.length || !models.length) return [];
    // Each round is a coin's throw, so that counting what was seen betrays nothing.
    const truths = shuffled(real);
    let turn = 0;
    let order = shuffled(models);
    return Array.from({ length: ROUNDS }, () => {
      if (Math.random() < 0.5 && truths.length) return truths.pop();
      if (turn >= order.length) [turn, order] = [0, shuffled(models)];
      const tiles = order[turn];
      turn += 1;
      return tiles[Math.floor(Math.random() * tiles.length)];
    });
  };
  const paint = (canvas, { image, i }) => {
    const [width, height, gap, columns] = image.dataset.tiles.split(" ").map(Number);
    const times = Math.max(1, Math.floor(160 / Math.max(width, height)));
    canvas.width = width * times;
    canvas.height = height * times;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    const [x, y] = [(i % columns) * (width + gap), Math.floor(i / columns) * (height + gap)];
    pen.drawImage(image, x, y, width, height, 0, 0, canvas.width, canvas.height);
  };
  const score = (answers) => {
    const list = make("ul");
    const line = (text) => list.append(make("li", text));
    const right = answers.filter(({ name, real }) => (name === "") === real).length;
    line(`Right: ${right} of ${answers.length}; guessing gives ${answers.length / 2} on average.`);
    const names = [...new Set(answers.map(({ name }) => name))].sort();
    for (const name of names) {
      const own = answers.filter((answer) => answer.name === name);
      const taken = own.filter(({ real }) => real).length;
      const chance = `guessing gives ${own.length / 2}`;
      line(`${name || "Real data"}: taken for real ${taken} of ${own.length}; ${chance}.`);
    }
    return list;
  };
  const play = (box, section) => {
    const rounds = deal(section);
    const answers = [];
    const canvas = make("canvas", "", { role: "img" });
    const line = make("p", "", { role: "status", class: "small" });
    const buttons = make("div", "", { class: "buttons" });
    const show = () => {
      const words = `Example ${answers.length + 1} of ${rounds.length}`;
      canvas.setAttribute("aria-label", words);
      paint(canvas, rounds[answers.length]);
      return words;
    };
    const reply = (real) => {
      if (answers.length >= rounds.length) return;
      const { name } = rounds[answers.length];
      answers.push({ name, real });
      const truth = name ? `It was made by ${name}.` : "It was real.";
      if (answers.length < rounds.length) {
        line.textContent = `${truth} ${show()}.`;
        return;
      }
      const again = make("button", "Play again", { type: "button" });
      again.addEventListener("click", () => play(box, section));
      line.textContent = truth;
      box.replaceChildren(line, score(answers), again);
      again.focus();
    };
    const keys = { ArrowLeft: true, ArrowRight: false };
    for (const [text, real] of [["← Real", true], ["Made →", false]]) {
      const button = make("button", text, { type: "button" });
      button.addEventListener("click", () => reply(real));
      buttons.append(button);
    }
    buttons.addEventListener("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      reply(keys[event.key]);
    });
    line.textContent = `${show()}. The arrow keys answer too.`;
    box.replaceChildren(canvas, buttons, line);
    buttons.firstChild.focus();
  };
  for (const box of all(".blind")) {
    const section = box.closest("section");
    if (!deal(section).length) continue;
    const start = make("button", `Real or not? A blind test of ${ROUNDS} examples`, {
      type: "button",
    });
    start.addEventListener("click", () => play(box, section));
    box.append(start);
  }
})();
