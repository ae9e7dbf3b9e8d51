// Puts molecules that can be turned in the place of their pictures; runs after 3Dmol-min.js.
// Without scripts or WebGL the pictures stay.
(() => {
  "use strict";
  document.onreadystatechange = null; // the library's search of the page for elements to fill
  const AT_ONCE = 4;

  const panel = (molecule, map) => {
    const cell = document.createElement("div");
    const canvas = document.createElement("div");
    const caption = document.createElement("span");
    canvas.className = "canvas";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", molecule.name);
    caption.textContent = molecule.name;
    caption.title = molecule.name;
    // The wheel belongs to the page unless Ctrl is held, as when a trackpad is pinched.
    const keep = (event) => event.ctrlKey || event.stopPropagation();
    canvas.addEventListener("wheel", keep, { capture: true, passive: true });
    cell.append(canvas, caption);
    const draw = () => {
      const viewer = $3Dmol.createViewer(canvas, { backgroundColor: "white" });
      viewer.addModel(molecule.table, "sdf");
      const colorscheme = { prop: "elem", map };
      const stick = { radius: 0.13, colorscheme };
      viewer.setStyle({}, { stick, sphere: { scale: 0.24, colorscheme } });
      viewer.zoomTo();
      viewer.render();
    };
    return [cell, draw];
  };

  const start = (box) => {
    const { colours, molecules } = JSON.parse(box.querySelector("script").textContent);
    const grid = document.createElement("div");
    grid.className = "viewers";
    const panels = molecules.map((molecule) => panel(molecule, colours));
    grid.append(...panels.map(([cell]) => cell));
    box.append(grid);
    box.classList.add("live");
    try {
      panels.forEach(([, draw], i) => molecules[i].table && draw());
    } catch (error) {
      console.warn(error);
      grid.remove();
      box.classList.remove("live");
    }
  };

  const probe = document.createElement("canvas");
  if (!probe.getContext("webgl2") && !probe.getContext("webgl")) return;
  const boxes = [...document.querySelectorAll(".conformers")];
  // A finger that scrolls past would turn molecules instead: there they are asked for.
  const byThemselves = boxes.length <= AT_ONCE && !window.matchMedia("(pointer: coarse)").matches;
  for (const box of boxes) {
    if (byThemselves) {
      start(box);
      continue;
    }
    const button = document.createElement("button");
    button.textContent = "Turn in three dimensions";
    button.addEventListener("click", () => {
      button.remove();
      start(box);
    });
    box.append(button);
  }
})();
