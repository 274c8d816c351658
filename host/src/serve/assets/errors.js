// The page Errors: an evaluation, its confusion matrix, and the pictures behind each cell.

import { $, api, chosen, el, finished, gallery, model, onModel, percent, toast } from "./common.js";

let figures = null;
let open = { list: "contradicted", title: "Surest mistakes" };
let turn = 0;

const address = () => `split=${chosen("split")}&images=${chosen("images")}`;

/** Evaluates, and shows everything. */
async function evaluate() {
  const now = ++turn;
  if (!model()) return;
  figures = null;
  $("gallery").replaceChildren();
  $("matrix").replaceChildren();
  $("figures").replaceChildren();
  $("classes").replaceChildren();
  try {
    const found = await finished(() => api(`models/${model()}/errors?${address()}`), $("progress"), () => now === turn);
    if (!found) return;
    figures = found;
    $("about").textContent = `${found.images} ${found.split} images of ${found.data}`;
    show();
    await list(0);
  } catch (error) {
    if (now === turn) {
      $("about").textContent = error.message;
      toast(error.message, true);
    }
  }
}

function show() {
  const { int8, float, changed, images } = figures;
  const figure = (name, value, text) => el("div", { className: "figure" }, el("span", { className: "quiet", textContent: name }),
    el("strong", { textContent: value }), el("span", { className: "quiet", textContent: text }));
  $("figures").replaceChildren(
    figure("int8 accuracy", percent(int8.accuracy), `top-5 ${percent(int8.top5)}`),
    float.error ? figure("float", "-", float.error) : figure("float accuracy", percent(float.accuracy), `top-5 ${percent(float.top5)}`),
    figure("named differently", changed === null ? "-" : percent(changed / Math.max(images, 1)), changed === null ? "" : `${changed} of ${images} by float and int8`));
  matrix();
  classes();
}

/** The matrix of float or int8. */
function matrix() {
  const by = chosen("by");
  const said = figures[by];
  const names = figures.classes;
  if (said.error) {
    $("matrix").replaceChildren(el("caption", { textContent: said.error }));
    return;
  }
  const head = el("tr", {}, el("td"), names.map((name) => el("th", { scope: "col" }, el("span", { textContent: name }))));
  const rows = said.confusion.map((row, label) => {
    const all = row.reduce((a, b) => a + b, 0) || 1;
    const cells = row.map((count, taken) => {
      const isStrong = count / all > (label === taken ? 0.5 : 0.2);
      const button = el("button", { type: "button", className: isStrong ? "strong" : "", textContent: count || "\u00b7", disabled: !count });
      button.setAttribute("aria-label", `${count} of ${names[label]} taken for ${names[taken]}`);
      button.style.setProperty("--part", (count / all).toFixed(3));
      button.addEventListener("click", () => {
        open = { list: `cell&label=${label}&taken=${taken}&by-float=${by === "float"}`, title: label === taken ? `${names[label]}, recognised` : `${names[label]} taken for ${names[taken]}` };
        list(0).then(() => $("list-title").focus());
      });
      return el("td", { className: label === taken ? "right" : "wrong" }, button);
    });
    return el("tr", {}, el("th", { scope: "row", textContent: names[label] }), cells);
  });
  $("matrix").replaceChildren(el("thead", {}, head), el("tbody", {}, rows));
}

function classes() {
  const head = ["class", "precision", "recall", "F1", "images", "F1 of float"];
  const rows = figures.int8.per_class.map((one, i) => el("tr", {}, el("th", { scope: "row", textContent: one.label }),
    [percent(one.precision), percent(one.recall), percent(one.f1), one.support, figures.float.error ? "" : percent(figures.float.per_class[i].f1)]
      .map((text) => el("td", { textContent: text }))));
  $("classes").replaceChildren(el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", textContent: text })))), el("tbody", {}, rows));
}

/** The pictures of the open list, from number `from` on. */
async function list(from) {
  if (!figures) return;
  const found = await api(`models/${model()}/errors/images?${address()}&list=${open.list}&from=${from}&count=60`);
  if (found.working) return;
  $("list-title").textContent = `${open.title}: ${found.total}`;
  gallery($("gallery"), found.items, (item) => `/api/v1/models/${model()}/images/${found.split}/${item.image}.png`, caption, from > 0);
  $("more").hidden = from + found.items.length >= found.total;
  $("more").onclick = () => list(from + found.items.length);
}

function caption({ label, int8, float, probability }) {
  const name = (i) => figures.classes[i];
  const taken = int8 === label ? "" : ` \u2192 ${name(int8)}`;
  const other = float === null || float === int8 ? "" : `, float: ${name(float)}`;
  return `${name(label)}${taken} ${percent(probability)}${other}`;
}

for (const button of document.querySelectorAll("[data-list]")) {
  button.addEventListener("click", () => {
    open = { list: button.dataset.list, title: button.textContent };
    list(0).catch((error) => toast(error.message, true));
  });
}
for (const name of ["split", "images"]) {
  document.querySelectorAll(`[name=${name}]`).forEach((input) => input.addEventListener("change", evaluate));
}
document.querySelectorAll("[name=by]").forEach((input) => input.addEventListener("change", () => figures && matrix()));
onModel(evaluate);
