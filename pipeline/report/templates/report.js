"use strict";
// Everything that documents say is put in as text, never as markup.

function since(then) {
  const seconds = Math.max(0, (Date.now() - then) / 1000);
  for (const [unit, name] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    const number = Math.floor(seconds / unit);
    if (number >= 1) return `${number.toLocaleString("en")} ${name}${number === 1 ? "" : "s"} ago`;
  }
  return "just now";
}

for (const age of document.querySelectorAll(".age")) {
  age.textContent = ` (${since(Date.parse(age.dataset.since))})`;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  made.dir = "auto";
  return made;
}

// What the marks of the charts say.
const hint = document.querySelector(".hint");
function hideHint() { hint.hidden = true; }
document.addEventListener("pointermove", (event) => {
  const mark = event.target.closest?.(".drawing svg [role=graphics-symbol][aria-label]");
  if (!mark) return hideHint();
  hint.textContent = mark.getAttribute("aria-label");
  hint.hidden = false;
  const left = Math.min(event.pageX + 14, document.documentElement.clientWidth - hint.offsetWidth - 8);
  hint.style.left = `${Math.max(8, left)}px`;
  hint.style.top = `${event.pageY + 18}px`;
});
document.addEventListener("scroll", hideHint, { passive: true });

class ChunkMap {
  constructor(root, data) {
    this.data = data;
    this.size = data.x.length;
    this.canvas = root.querySelector("canvas");
    this.tip = root.querySelector(".tip");
    this.said = root.querySelector(".said");
    this.found = root.querySelector(".found");
    this.legend = [...root.querySelectorAll("[data-group]")];
    this.right = Math.max(1, ...data.x);
    this.top = Math.max(1, ...data.y);
    this.view = { scale: 1, x: 0, y: 0 };
    this.chosen = -1;
    this.only = new Set();
    this.matches = null;
    this.onPaper = false;
    this.listen(root);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  listen(root) {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointermove", (event) => {
      if (drag) {
        const moved = { x: event.offsetX - drag.x, y: event.offsetY - drag.y };
        drag.far = drag.far || Math.hypot(moved.x, moved.y) > 4;
        if (drag.far) this.move(drag.view.x + moved.x, drag.view.y + moved.y);
        return;
      }
      this.choose(this.nearest(event.offsetX, event.offsetY, 14), true);
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return;
      drag = { x: event.offsetX, y: event.offsetY, view: { ...this.view }, far: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", () => { drag = null; });
    canvas.addEventListener("pointercancel", () => { drag = null; });
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("click", (event) => {
      const near = this.nearest(event.offsetX, event.offsetY, 24);
      if (near >= 0) this.choose(near, true);
    });
    canvas.addEventListener("wheel", (event) => {
      // Without a key the page scrolls on, as everywhere.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("focus", () => { if (this.chosen < 0) this.choose(this.first(), true); });
    canvas.addEventListener("blur", () => { this.tip.hidden = true; });
    for (const button of root.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.zoomBy(button.dataset.zoom));
    }
    for (const button of this.legend) {
      button.addEventListener("click", () => {
        const group = Number(button.dataset.group);
        const on = !this.only.delete(group);
        if (on) this.only.add(group);
        button.setAttribute("aria-pressed", String(on));
        this.draw();
      });
    }
    root.querySelector("input").addEventListener("input", (event) => this.find(event.target.value));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    addEventListener("beforeprint", () => { this.onPaper = true; this.draw(); });
    addEventListener("afterprint", () => { this.onPaper = false; this.draw(); });
  }

  press(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step) this.choose(this.towards(...step), true);
    else if (event.key === "+" || event.key === "=") this.zoomBy("in");
    else if (event.key === "-") this.zoomBy("out");
    else if (event.key === "0") this.zoomBy("reset");
    else if (event.key === "Escape") this.choose(-1, false);
    else return;
    event.preventDefault();
  }

  place(index) {
    const { width, height, view } = this;
    const pad = 18;
    const fit = Math.min((width - 2 * pad) / this.right, (height - 2 * pad) / this.top);
    const x = (this.data.x[index] - this.right / 2) * fit;
    const y = (this.top / 2 - this.data.y[index]) * fit;
    return [width / 2 + x * view.scale + view.x, height / 2 + y * view.scale + view.y];
  }

  isShown(index) {
    return (!this.only.size || this.only.has(this.data.group[index]))
      && (!this.matches || this.matches.has(index));
  }

  first() {
    for (let index = 0; index < this.size; index += 1) if (this.isShown(index)) return index;
    return -1;
  }

  nearest(x, y, reach) {
    let best = -1;
    let least = reach * reach;
    for (let index = 0; index < this.size; index += 1) {
      if (!this.isShown(index)) continue;
      const [px, py] = this.place(index);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) { least = distance; best = index; }
    }
    return best;
  }

  towards(dx, dy) {
    if (this.chosen < 0) return this.first();
    const [x, y] = this.place(this.chosen);
    let best = this.chosen;
    let least = Infinity;
    for (let index = 0; index < this.size; index += 1) {
      if (index === this.chosen || !this.isShown(index)) continue;
      const [px, py] = this.place(index);
      const ahead = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      const cost = ahead + 2 * aside;
      if (ahead > 0.01 && aside <= 2 * ahead && cost < least) { least = cost; best = index; }
    }
    return best;
  }

  choose(index, isTold) {
    if (index === this.chosen && isTold && !this.tip.hidden) return;
    this.chosen = index;
    this.draw();
    this.tip.hidden = index < 0;
    if (index < 0) return;
    const told = this.describe(index);
    this.tip.replaceChildren(...told.map((part) => part.cloneNode(true)));
    this.said.replaceChildren(...told);
    const [x, y] = this.place(index);
    const { offsetWidth: wide, offsetHeight: high } = this.tip;
    const left = x + 16 + wide > this.width ? x - 16 - wide : x + 16;
    this.tip.style.left = `${Math.max(4, Math.min(left, this.width - wide - 4))}px`;
    this.tip.style.top = `${Math.max(4, Math.min(y - high / 2, this.height - high - 4))}px`;
  }

  describe(index) {
    const { data } = this;
    const [number, of] = data.chunk[index];
    const facts = [`chunk ${number} of ${of}`, `${data.tokens[index].toLocaleString("en")} tokens`];
    if (data.column) facts.unshift(`${data.column}: ${data.groups[data.group[index]][0]}`);
    if (data.id[index]) facts.unshift(data.id[index]);
    const who = element("p", "who", facts.join(" · "));
    return data.text[index] ? [who, element("p", "text", data.text[index])] : [who];
  }

  find(words) {
    const wanted = words.trim().toLocaleLowerCase();
    this.matches = null;
    this.found.textContent = "";
    if (wanted) {
      this.matches = new Set();
      this.data.text.forEach((text, index) => {
        const said = `${this.data.id[index]} ${text}`.toLocaleLowerCase();
        if (said.includes(wanted)) this.matches.add(index);
      });
      this.found.textContent = `${this.matches.size.toLocaleString("en")} found`;
    }
    this.draw();
  }

  zoomBy(how) {
    if (how === "reset") {
      this.view = { scale: 1, x: 0, y: 0 };
      this.tip.hidden = true;
      this.draw();
    } else {
      const at = this.chosen < 0 ? [this.width / 2, this.height / 2] : this.place(this.chosen);
      this.zoom(how === "in" ? 1.6 : 1 / 1.6, ...at);
    }
  }

  zoom(factor, x, y) {
    const scale = Math.min(60, Math.max(1, this.view.scale * factor));
    const by = scale / this.view.scale;
    const centre = [x - this.width / 2, y - this.height / 2];
    this.view.scale = scale;
    this.move(centre[0] - (centre[0] - this.view.x) * by, centre[1] - (centre[1] - this.view.y) * by);
  }

  move(x, y) {
    const far = [(this.width / 2) * this.view.scale, (this.height / 2) * this.view.scale];
    this.view.x = Math.max(-far[0], Math.min(far[0], x));
    this.view.y = Math.max(-far[1], Math.min(far[1], y));
    this.tip.hidden = true;
    this.draw();
  }

  colours() {
    const style = getComputedStyle(document.documentElement);
    const named = (name) => style.getPropertyValue(`--${name}`).trim();
    return {
      ink: this.onPaper ? "#000" : named("ink"),
      single: named("c1"),
      groups: this.data.groups.map(([, colour]) => named(colour)),
    };
  }

  draw() {
    const { canvas, data } = this;
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    const ratio = Math.max(1, devicePixelRatio || 1);
    canvas.width = Math.round(this.width * ratio);
    canvas.height = Math.round(this.height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const colours = this.colours();
    const crowd = Math.min(1, 1500 / this.size);
    const radius = (1.7 + 1.8 * Math.sqrt(crowd)) * Math.min(2, this.view.scale ** 0.3);
    const rest = data.groups.map(([, colour]) => colour === "rest");
    // What is left out stays as a shadow, and what has no colour of its own lies below.
    const layer = (index) => (!this.isShown(index) ? 0 : rest[data.group[index]] ? 1 : 2);
    for (let level = 0; level < 3; level += 1) {
      pen.globalAlpha = level === 0 ? 0.1 : 0.35 + 0.45 * Math.sqrt(crowd);
      for (let index = 0; index < this.size; index += 1) {
        if (layer(index) !== level) continue;
        const [x, y] = this.place(index);
        if (x < -9 || y < -9 || x > this.width + 9 || y > this.height + 9) continue;
        pen.fillStyle = data.groups.length ? colours.groups[data.group[index]] : colours.single;
        pen.beginPath();
        pen.arc(x, y, radius, 0, 7);
        pen.fill();
      }
    }
    if (this.chosen >= 0) {
      const [x, y] = this.place(this.chosen);
      pen.globalAlpha = 1;
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(x, y, radius + 4, 0, 7);
      pen.stroke();
    }
  }
}

const stored = document.getElementById("map-data");
if (stored) {
  window.chunkMap = new ChunkMap(document.getElementById("chunk-map"), JSON.parse(stored.textContent));
}
