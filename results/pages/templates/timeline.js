// Draws each <figure class="timeline"> from the JSON within it, on a canvas, to zoom, pan and hover.
// Works from a file without a network. Without script, and on paper, the SVG in the figure is shown instead.
"use strict";
(() => {
  const LEFT = 112, RIGHT = 12, ROW = 17, BAR = 13, HEAD = 20, AXIS = 34, PLOT = 120, NEAR = 9;
  const LOST = 1, REORDERED = 2, DUPLICATED = 4;
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function bytes(text) {
    return Uint8Array.from(atob(text), one => one.charCodeAt(0));
  }
  function floats(text) {
    return new Float32Array(bytes(text).buffer);
  }
  // Index of the first value that is not below `least`; `values` ascend.
  function from(values, least) {
    let low = 0, high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < least) low = middle + 1; else high = middle;
    }
    return low;
  }
  function steps(lo, hi, wanted) {
    const rough = (hi - lo) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(one => one * power).find(one => one >= rough);
    const found = [];
    for (let at = Math.ceil(lo / step) * step; at <= hi; at += step) found.push(Math.abs(at) < step / 1e6 ? 0 : at);
    return found;
  }
  const short = value => Number(value.toPrecision(6)).toString();

  function heightOf(panel) {
    return HEAD + (panel.kind === "rows" ? Math.max(panel.rows.length, 1) * ROW : PLOT);
  }

  class Timeline {
    constructor(figure) {
      this.data = JSON.parse(figure.querySelector("script").textContent);
      for (const panel of this.data.panels) {
        if (panel.kind === "packets") {
          panel.tx = floats(panel.tx); panel.delay = floats(panel.delay); panel.mark = bytes(panel.mark);
        }
        for (const series of panel.series || []) {
          series.t = floats(series.t); series.kilobytes = floats(series.kilobytes);
        }
      }
      [this.lo, this.hi] = this.data.window;
      this.canvas = figure.querySelector("canvas");
      this.told = figure.querySelector("output");
      this.pen = this.canvas.getContext("2d");
      this.touches = new Map();
      this.height = AXIS + this.data.panels.reduce((sum, panel) => sum + heightOf(panel), 0);
      figure.classList.add("drawn");
      for (const button of figure.querySelectorAll("button")) {
        button.addEventListener("click", () => this.act(button.dataset.act));
      }
      this.listen();
      new ResizeObserver(() => this.draw()).observe(this.canvas);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
      this.draw();
    }

    // ---- where things are

    get width() { return this.canvas.clientWidth; }
    x(t) { return LEFT + (t - this.lo) / (this.hi - this.lo) * (this.width - LEFT - RIGHT); }
    t(x) { return this.lo + (x - LEFT) / (this.width - LEFT - RIGHT) * (this.hi - this.lo); }

    // ---- zoom and pan

    show(lo, hi) {
      const [least, most] = this.data.extent;
      const span = Math.min(Math.max(hi - lo, 0.05), most - least);
      lo = Math.min(Math.max(lo, least), most - span);
      this.lo = lo; this.hi = lo + span;
      this.draw();
    }
    zoom(factor, at) {
      at ??= (this.lo + this.hi) / 2;
      this.show(at - (at - this.lo) * factor, at + (this.hi - at) * factor);
    }
    pan(share) {
      const by = share * (this.hi - this.lo);
      this.show(this.lo + by, this.hi + by);
    }
    act(what) {
      if (what === "in") this.zoom(0.5);
      if (what === "out") this.zoom(2);
      if (what === "left") this.pan(-0.25);
      if (what === "right") this.pan(0.25);
      if (what === "move") this.show(...this.data.window);
      if (what === "all") this.show(...this.data.extent);
    }
    listen() {
      const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "move", a: "all" };
      this.canvas.addEventListener("wheel", event => {
        // A wheel alone scrolls the page; with Ctrl (as pinching on a touch pad), Shift or on a focused picture it zooms.
        if (!event.ctrlKey && !event.shiftKey && document.activeElement !== this.canvas) return;
        event.preventDefault();
        this.zoom(Math.exp((event.deltaY || event.deltaX) / 400), this.t(event.offsetX));
      }, { passive: false });
      this.canvas.addEventListener("dblclick", event => this.zoom(0.35, this.t(event.offsetX)));
      this.canvas.addEventListener("keydown", event => {
        if (keys[event.key] === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        this.act(keys[event.key]);
      });
      this.canvas.addEventListener("pointerdown", event => {
        this.touches.set(event.pointerId, event.offsetX);
        this.canvas.setPointerCapture(event.pointerId);
      });
      for (const name of ["pointerup", "pointercancel"]) {
        this.canvas.addEventListener(name, event => this.touches.delete(event.pointerId));
      }
      this.canvas.addEventListener("pointermove", event => this.moved(event));
      this.canvas.addEventListener("pointerleave", () => this.tell(null));
    }
    moved(event) {
      const before = this.touches.get(event.pointerId);
      if (before === undefined) return this.tell(this.nearest(event.offsetX, event.offsetY), event);
      const others = [...this.touches].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
      this.touches.set(event.pointerId, event.offsetX);
      if (others.length) {
        const was = Math.abs(before - others[0]), is = Math.abs(event.offsetX - others[0]);
        if (was > 5 && is > 5) this.zoom(was / is, this.t((event.offsetX + others[0]) / 2));
      } else {
        this.pan((before - event.offsetX) / (this.width - LEFT - RIGHT));
      }
      this.tell(null);
    }

    // ---- what is under the pointer

    nearest(x, y) {
      let top = 0;
      for (const panel of this.data.panels) {
        const height = heightOf(panel);
        if (y >= top && y < top + height) return this.within(panel, x, y - top - HEAD);
        top += height;
      }
      return null;
    }
    within(panel, x, y) {
      if (x < LEFT - NEAR) return null;
      if (panel.kind === "rows") return this.withinRows(panel, x, Math.floor(y / ROW));
      if (panel.kind === "packets") return this.withinPackets(panel, x, y);
      return this.withinProgress(panel, x);
    }
    withinRows(panel, x, row) {
      let best = null, least = NEAR;
      for (const [own, at, text] of panel.points) {
        const away = Math.abs(this.x(at) - x);
        if (own === row && away <= least) { least = away; best = `${text} at ${short(at)} ms`; }
      }
      if (best) return best;
      for (const [own, start, end, text] of panel.spans) {
        const left = this.x(start) - NEAR / 2, right = Math.max(this.x(end), this.x(start) + 2) + NEAR / 2;
        if (own === row && x >= left && x <= right && right - left <= (least === NEAR ? Infinity : least)) {
          least = right - left; best = `${text}, from ${short(start)} ms`;
        }
      }
      return best;
    }
    withinPackets(panel, x, y) {
      let best = null, least = NEAR ** 2;
      const last = from(panel.tx, this.t(x + NEAR));
      for (let at = from(panel.tx, this.t(x - NEAR)); at < last; at++) {
        const away = (this.x(panel.tx[at]) - x) ** 2 + (this.packetY(panel, at) - y) ** 2;
        if (away < least) { least = away; best = at; }
      }
      if (best === null) return null;
      const mark = panel.mark[best];
      const words = [[LOST, "lost"], [REORDERED, "overtaken"], [DUPLICATED, "twice"]];
      const befell = words.filter(([bit]) => mark & bit).map(([, word]) => word).join(", ");
      const delay = mark & LOST ? "" : `, ${short(panel.delay[best])} ms on the way`;
      return `packet sent at ${short(panel.tx[best])} ms${delay}${befell ? ": " + befell : ""}`;
    }
    withinProgress(panel, x) {
      const told = [];
      for (const [at, text] of panel.points) {
        if (Math.abs(this.x(at) - x) <= NEAR / 2) told.push(`${text} seen at ${short(at)} ms`);
      }
      const t = this.t(x);
      for (const { name, t: times } of panel.series) {
        const next = from(times, t);
        if (next > 0 && next < times.length) {
          told.push(`${name}: ${short(times[next] - times[next - 1])} ms between reads`);
        }
      }
      return told.join("; ") || null;
    }
    tell(text, event) {
      this.told.hidden = !text;
      if (!text) return;
      this.told.textContent = text;
      const room = this.width - this.told.offsetWidth - 4;
      this.told.style.left = `${Math.max(0, Math.min(event.offsetX + 12, room))}px`;
      this.told.style.top = `${event.offsetY + 16}px`;
    }

    // ---- drawing

    draw() {
      const scale = devicePixelRatio || 1, pen = this.pen;
      if (!this.width) return;
      this.canvas.style.height = `${this.height}px`;
      this.canvas.width = Math.round(this.width * scale);
      this.canvas.height = Math.round(this.height * scale);
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      pen.font = "11px system-ui, 'DejaVu Sans', sans-serif";
      pen.textBaseline = "middle";
      this.shared();
      let top = 0;
      for (const panel of this.data.panels) {
        pen.fillStyle = colour("--ink"); pen.textAlign = "left";
        pen.fillText(panel.head, LEFT, top + HEAD / 2 + 1);
        pen.save();
        pen.translate(0, top + HEAD);
        this[panel.kind](panel, heightOf(panel) - HEAD);
        pen.restore();
        top += heightOf(panel);
      }
      this.canvas.dataset.window = `${short(this.lo)} ${short(this.hi)}`;
    }
    shared() {
      const pen = this.pen, bottom = this.height - AXIS;
      if (this.data.away) {
        const left = Math.max(this.x(this.data.away[0]), LEFT);
        const right = Math.min(this.x(this.data.away[1]), this.width - RIGHT);
        pen.fillStyle = colour("--band");
        if (right > left) pen.fillRect(left, 0, right - left, bottom);
      }
      pen.textAlign = "center";
      for (const t of steps(this.lo, this.hi, Math.max(3, (this.width - LEFT) / 90))) {
        pen.fillStyle = t === 0 ? colour("--ink") : colour("--grid");
        pen.fillRect(this.x(t), 0, 1, bottom);
        pen.fillStyle = colour("--muted");
        const half = pen.measureText(short(t)).width / 2;  // at the edge the number stays whole
        pen.fillText(short(t), Math.min(this.x(t), this.width - half), bottom + 9);
      }
      pen.fillText(`ms relative to ${this.data.zero}`, (LEFT + this.width - RIGHT) / 2, bottom + 25);
    }
    clipped(height, drawing) {
      const pen = this.pen;
      pen.save();
      pen.beginPath(); pen.rect(LEFT, -2, this.width - LEFT - RIGHT, height + 4); pen.clip();
      drawing(pen);
      pen.restore();
    }
    label(text, y) {
      const pen = this.pen;
      pen.fillStyle = colour("--muted"); pen.textAlign = "right";
      pen.fillText(text, LEFT - 8, y, LEFT - 12);
    }
    rows(panel, height) {
      panel.rows.forEach((name, row) => this.label(name, (row + 0.5) * ROW));
      const alone = panel.rows.map((_, row) => panel.spans.filter(([own]) => own === row).length);
      this.clipped(height, pen => {
        for (const [row, start, end, text, name, hatched] of panel.spans) {
          const left = this.x(start), width = Math.max(this.x(end) - left, 2), y = row * ROW + (ROW - BAR) / 2;
          if (left > this.width || left + width < LEFT) continue;
          pen.fillStyle = pen.strokeStyle = colour(name);
          if (hatched) {
            pen.globalAlpha = 0.25; pen.fillRect(left, y, width, BAR); pen.globalAlpha = 1;
            pen.strokeRect(left, y + 0.5, width, BAR - 1);
          } else {
            pen.fillRect(left, y, width, BAR);
          }
          const room = Math.min(left + width, this.width - RIGHT) - Math.max(left, LEFT);
          pen.textAlign = "left";
          if (room > pen.measureText(text).width + 6) {
            pen.fillStyle = hatched ? colour("--ink") : colour("--paper");
            pen.fillText(text, Math.max(left, LEFT) + 4, y + BAR / 2 + 0.5);
          } else if (alone[row] === 1) {
            pen.fillStyle = colour("--muted");
            const told = text.split(": ").pop(), beyond = left + width + 5;
            const fits = beyond + pen.measureText(told).width <= this.width - RIGHT;
            pen.textAlign = fits ? "left" : "right";
            pen.fillText(told, fits ? beyond : left - 5, y + BAR / 2 + 0.5);
          }
        }
        for (const [row, at, , shape, name] of panel.points) {
          pen.fillStyle = pen.strokeStyle = colour(name);
          this.mark(shape, this.x(at), (row + 0.5) * ROW);
        }
      });
    }
    mark(shape, x, y) {
      const pen = this.pen;
      const outline = {
        triangle: [[0, -5], [5, 4], [-5, 4]], square: [[-3, -3], [3, -3], [3, 3], [-3, 3]],
        diamond: [[0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]],
        star: [[0, -6], [1.6, -1.6], [6, 0], [1.6, 1.6], [0, 6], [-1.6, 1.6], [-6, 0], [-1.6, -1.6]],
        bar: [[-1, -5], [1, -5], [1, 5], [-1, 5]],
      }[shape];
      pen.beginPath();
      if (outline) {
        for (const [dx, dy] of outline) pen.lineTo(x + dx, y + dy);
        pen.closePath(); pen.fill();
      } else {
        pen.lineWidth = 2;
        pen.moveTo(x - 4, y - 4); pen.lineTo(x + 4, y + 4); pen.moveTo(x + 4, y - 4); pen.lineTo(x - 4, y + 4);
        pen.stroke(); pen.lineWidth = 1;
      }
    }
    packetY(panel, at) {
      const [least, most] = panel.limits.map(Math.log);
      const delay = panel.mark[at] & LOST ? panel.limits[1] / 1.7 : Math.max(panel.delay[at], panel.limits[0]);
      return PLOT * (1 - (Math.min(Math.log(delay), most) - least) / (most - least));
    }
    packets(panel, height) {
      const [least, most] = panel.limits;
      for (let power = Math.ceil(Math.log10(least)); power <= Math.log10(most); power++) {
        const y = height * (1 - (power * Math.LN10 - Math.log(least)) / Math.log(most / least));
        this.pen.fillStyle = colour("--grid");
        this.pen.fillRect(LEFT, y, this.width - LEFT - RIGHT, 1);
        this.label(`${10 ** power}`, y);
      }
      this.clipped(height, pen => {
        const plain = colour(panel.colour), ink = colour("--ink");
        const first = Math.max(from(panel.tx, this.lo) - 1, 0), last = from(panel.tx, this.hi);
        const size = last - first > 3000 ? 1.6 : 2.6;
        pen.fillStyle = plain;
        for (let at = first; at < last; at++) {
          if (!(panel.mark[at] & LOST)) {
            pen.fillRect(this.x(panel.tx[at]) - size / 2, this.packetY(panel, at) - size / 2, size, size);
          }
        }
        pen.strokeStyle = ink;
        for (let at = first; at < last; at++) {
          const x = this.x(panel.tx[at]), y = this.packetY(panel, at), mark = panel.mark[at];
          if (mark & LOST) {
            pen.beginPath(); pen.moveTo(x - 3, y - 3); pen.lineTo(x + 3, y + 3);
            pen.moveTo(x + 3, y - 3); pen.lineTo(x - 3, y + 3); pen.stroke();
          }
          if (mark & REORDERED) pen.strokeRect(x - 3, y - 3, 6, 6);
          if (mark & DUPLICATED) { pen.beginPath(); pen.arc(x, y, 4, 0, 7); pen.stroke(); }
        }
      });
    }
    progress(panel, height) {
      const shown = panel.series.map(series => {
        const first = Math.max(from(series.t, this.lo) - 1, 0);
        return { ...series, first, last: Math.min(from(series.t, this.hi) + 1, series.t.length) };
      });
      const most = Math.max(1, ...shown.map(one => one.last > one.first
        ? one.kilobytes[one.last - 1] - one.kilobytes[one.first] : 0)) * 1.15;
      for (const value of steps(0, most, 4)) {
        const y = height * (1 - value / most);
        this.pen.fillStyle = colour("--grid");
        this.pen.fillRect(LEFT, y, this.width - LEFT - RIGHT, 1);
        this.label(short(value), y);
      }
      this.clipped(height, pen => {
        shown.forEach((series, number) => {
          pen.strokeStyle = colour(series.colour); pen.lineWidth = 1.5;
          pen.setLineDash(number ? [6, 2] : []);
          pen.beginPath();
          let y = height;
          for (let at = series.first; at < series.last; at++) {
            const x = this.x(series.t[at]);
            pen.lineTo(x, y);
            y = height * (1 - (series.kilobytes[at] - series.kilobytes[series.first]) / most);
            pen.lineTo(x, y);
          }
          pen.stroke(); pen.setLineDash([]); pen.lineWidth = 1;
          pen.fillStyle = colour(series.colour); pen.textAlign = "left";
          pen.fillText(series.name, LEFT + 6 + number * 70, 9);
        });
        for (const [at, , shape, name] of panel.points) {
          pen.fillStyle = pen.strokeStyle = colour(name);
          this.mark(shape, this.x(at), 22);
        }
      });
    }
  }

  const all = [];
  const begin = () => {
    for (const figure of document.querySelectorAll("figure.timeline")) all.push(new Timeline(figure));
    document.documentElement.dataset.timelines = all.length;
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin); else begin();
})();
