// Curves as SVG.

const NAMESPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT] = [560, 220, 58, 10, 10, 26];

function svg(tag, attributes, text) {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Round numbers between `least` and `most`. */
function ticks(least, most, count) {
  const rough = (most - least) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(least / step) * step; value <= most + step / 1e6; value += step) found.push(Number(value.toPrecision(6)));
  return found;
}

/**
 * Draws curves into `place`. Each has points [x, y], a number for its colour, and may be dashed.
 * `show` writes a value of the vertical axis.
 */
export function chart(place, curves, show) {
  const points = curves.flatMap((curve) => curve.points);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": place.querySelector("figcaption").textContent });
  if (points.length) {
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const [left, right] = [Math.min(0, ...xs), Math.max(1, ...xs)];
    let [low, high] = [Math.min(...ys), Math.max(...ys)];
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    [low, high] = [Math.max(0, low - room), high + room];
    const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (value - left) / (right - left);
    const y = (value) => HEIGHT - FOOT - (HEIGHT - TOP - FOOT) * (value - low) / (high - low);
    for (const value of ticks(low, high, 4)) {
      drawing.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
        svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, show(value)));
    }
    for (const value of ticks(left, right, 8).filter(Number.isInteger)) {
      drawing.append(svg("text", { x: x(value), y: HEIGHT - 8, "text-anchor": "middle" }, value));
    }
    for (const { points, colour, dashed } of curves) {
      const path = points.map(([px, py], i) => `${i ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
      drawing.append(svg("path", { class: `curve colour-${colour % 6}${dashed ? " dashed" : ""}`, d: path }));
      const last = points.at(-1);
      if (last && !dashed) {
        drawing.append(svg("circle", { class: `dot colour-${colour % 6}`, cx: x(last[0]), cy: y(last[1]), r: 3.5 },));
      }
    }
  } else {
    drawing.append(svg("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, curves.length ? "The first epoch is not over yet." : "The curves of a run are drawn here."));
  }
  place.querySelector("svg")?.remove();
  place.append(drawing);
  place.dataset.points = points.length;
}
