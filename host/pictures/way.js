"use strict";
// One digit's way: its rows enter at the left, outputs slosh across the cells, the error comes back as messages.
// Everything is in the page: <div class="way"> holds the controls, and a script of JSON beside them the data.
(() => {
  const bytes = (text) => Int8Array.from(atob(text), (c) => c.charCodeAt(0));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const PACE = 180; // milliseconds between two steps
  const REST = 8; // steps that the last picture stands still

  function palette() {
    const style = getComputedStyle(document.documentElement);
    const found = {};
    for (const name of ["paper", "grid", "ink", "soft", "blue", "red", "green", "violet"]) {
      const hex = style.getPropertyValue("--" + name).trim();
      found[name] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    }
    return found;
  }

  const mixed = (from, to, part) => `rgb(${from.map((x, k) => Math.round(x + (to[k] - x) * part)).join()})`;

  function start(place) {
    const data = JSON.parse(place.querySelector("script").textContent);
    const canvas = place.querySelector(".stage canvas");
    const slider = place.querySelector("input[type=range]");
    const button = place.querySelector(".play");
    const told = place.querySelector("output");
    const lines = place.querySelector("input[type=checkbox]");
    const { steps, cells, levels, spans } = data;
    const count = levels.length;
    const last = steps + spans.length;
    for (const digit of data.digits) {
      for (const part of ["pixels", "y", "message"]) digit[part] = bytes(digit[part]);
    }
    const each = data.digits[0].message.length / count; // values of a message: one for each step, or one for all
    let digit = data.digits[0];
    let frame = 0;
    let timer = 0;
    let rest = 0;
    let colours = palette();

    function box(list, k) {
      return [list[4 * k], list[4 * k + 1], list[4 * k + 2], list[4 * k + 3]];
    }

    function draw() {
      const ratio = Math.min(devicePixelRatio || 1, 3);
      const width = canvas.clientWidth;
      const unit = width / data.width;
      canvas.style.height = data.height * unit + "px";
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(data.height * unit * ratio);
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio * unit, 0, 0, ratio * unit, 0, 0);
      const gap = 1 / unit;
      const fill = (colour, x, y, w, h) => {
        pen.fillStyle = colour;
        pen.fillRect(x, y, Math.max(w - gap, gap), Math.max(h - gap, gap));
      };
      inputs(fill);
      for (let k = 0; k < count; k++) cell(k, fill, unit);
      outputs(pen, fill, unit);
      if (lines && lines.checked) wires(pen, gap);
    }

    // The rows that are still to come stand in line before the shore.
    function inputs(fill) {
      const rows = data.rows;
      for (let k = 0; k < data.inputs.length / 4; k++) {
        const [x, y, w, h] = box(data.inputs, k);
        for (let ahead = 0; frame + ahead < steps && x - ahead * w > -w; ahead++) {
          const value = (digit.pixels[(frame + ahead) * rows + (k % rows)] & 255) / 255;
          const shade = value * (ahead ? Math.max(0.12, 0.6 - 0.07 * ahead) : 1);
          fill(mixed(colours.paper, colours.ink, 0.04 + 0.96 * shade), x - ahead * w, y, w, h);
        }
      }
    }

    function cell(k, fill, unit) {
      const [x, y, w, h] = box(cells, k);
      if (frame < steps) {
        const value = digit.y[k * steps + frame] / 127;
        fill(mixed(colours.grid, value < 0 ? colours.blue : colours.red, Math.abs(value)), x, y, w, h);
        return;
      }
      if (frame === steps || levels[k] > frame - steps - 1) {
        fill(mixed(colours.grid, colours.paper, 0.25), x, y, w, h);
        return;
      }
      const strips = each > 1 && w * unit >= 16 ? each : 1;
      fill(mixed(colours.grid, colours.paper, 0.6), x, y, w, h);
      const inner = Math.min(0.12 * w, 3 / unit); // what parts a cell from the next
      for (let t = 0; t < strips; t++) {
        const value = strips > 1 || each === 1 ? digit.message[k * each + t] : strongest(k);
        if (!value) continue;
        const colour = mixed(colours.paper, value < 0 ? colours.violet : colours.green, Math.abs(value) / 127);
        if (strips > 1) {
          const part = (w - inner) / strips;
          fill(colour, x + t * part, y, part + 1.3 / unit, h);
        } else fill(colour, x, y, w, h);
      }
    }

    function strongest(k) {
      let found = 0;
      for (let t = 0; t < each; t++) {
        const value = digit.message[k * each + t];
        if (Math.abs(value) > Math.abs(found)) found = value;
      }
      return found;
    }

    function outputs(pen, fill, unit) {
      const errors = frame >= steps;
      pen.textAlign = "center";
      pen.textBaseline = "alphabetic";
      for (let j = 0; j < data.classes.length; j++) {
        const [x, y, w, h] = box(data.outputs, j);
        const value = errors ? digit.error[j] : digit.logits[Math.min(frame, steps - 1)][j];
        const pair = errors ? [colours.violet, colours.green] : [colours.blue, colours.red];
        fill(mixed(colours.grid, colours.paper, 0.4), x, y, w, h);
        fill(mixed(colours.grid, pair[value < 0 ? 0 : 1], Math.sqrt(Math.abs(value))), x, y, w, h);
        const chosen = errors ? j === digit.index : j === digit.best[Math.min(frame, steps - 1)];
        pen.font = `${chosen ? "700 " : ""}${Math.min(12 / unit, 0.6 * w)}px system-ui, sans-serif`;
        pen.fillStyle = `rgb(${colours.ink.join()})`;
        pen.fillText(data.classes[j], x + w / 2, y + h + 14 / unit);
        if (chosen) {
          pen.strokeStyle = `rgb(${colours.ink.join()})`;
          pen.lineWidth = 2 / unit;
          pen.strokeRect(x + 1 / unit, y + 1 / unit, w - 3 / unit, h - 3 / unit);
        }
      }
    }

    function wires(pen, gap) {
      pen.strokeStyle = `rgb(${colours.ink.join()})`;
      pen.globalAlpha = 0.4;
      pen.lineWidth = gap;
      pen.beginPath();
      for (const [from, to] of data.wires) {
        const [x, y, w, h] = box(cells, from);
        const [u, v, s] = box(cells, to);
        pen.moveTo(x + w / 2, y + h / 2);
        pen.lineTo(u + s / 2, v);
      }
      pen.stroke();
      pen.globalAlpha = 1;
    }

    function words() {
      if (frame < steps) return `step ${frame + 1} of ${steps}: row ${frame + 1} of the image enters on the left`;
      if (frame === steps) {
        const right = digit.predicted === digit.label ? "rightly" : "wrongly";
        return `read ${right} as ${digit.predicted}; the label says ${digit.label}: the error enters below`;
      }
      return `messages reach ${spans[frame - steps - 1]}`;
    }

    function show(next) {
      frame = next;
      slider.value = frame;
      told.textContent = words();
      place.dataset.frame = frame;
      draw();
    }

    function tick() {
      if (frame < last) show(frame + 1);
      else if (++rest > REST) {
        rest = 0;
        show(0);
      }
    }

    function play(on) {
      clearInterval(timer);
      timer = on ? setInterval(tick, PACE) : 0;
      button.textContent = on ? "Pause" : "Play";
      button.setAttribute("aria-pressed", String(on));
    }

    // The image itself, on the button that chooses it.
    function thumbnails() {
      place.querySelectorAll(".digits canvas").forEach((small, k) => {
        const { pixels } = data.digits[k];
        small.width = data.rows;
        small.height = steps;
        const pen = small.getContext("2d");
        for (let at = 0; at < pixels.length; at++) {
          pen.fillStyle = `rgba(${colours.ink.join()},${(pixels[at] & 255) / 255})`;
          pen.fillRect(at % data.rows, Math.floor(at / data.rows), 1, 1);
        }
      });
    }

    slider.max = last;
    slider.addEventListener("input", () => {
      play(false);
      show(Number(slider.value));
    });
    button.addEventListener("click", () => play(!timer));
    place.querySelectorAll(".digits button").forEach((choice, k) => {
      choice.addEventListener("click", () => {
        digit = data.digits[k];
        for (const other of choice.parentNode.children) other.setAttribute("aria-pressed", String(other === choice));
        rest = 0;
        show(timer ? 0 : frame);
      });
    });
    if (lines) lines.addEventListener("change", draw);
    dark.addEventListener("change", () => {
      colours = palette();
      thumbnails();
      draw();
    });
    new ResizeObserver(draw).observe(canvas.parentNode);
    thumbnails();
    show(still.matches ? steps - 1 : 0);
    play(!still.matches);
  }

  document.querySelectorAll(".way").forEach(start);
})();
