// The page Data: classes and findings of a dataset, labels that may be wrong, and augmentation.

import { $, api, chosen, el, finished, gallery, model, onModel, percent, toast } from "./common.js";

let source = "shapes";
let report = null;
let turn = 0;

async function start() {
  const { datasets } = await api("data");
  const names = { given: "--data", photos: "captured", shapes: "built-in" };
  source = datasets[0].id;
  $("sources").append(...datasets.map(({ id, path }) => {
    const input = el("input", { type: "radio", name: "source", value: id, checked: id === source });
    input.addEventListener("change", () => { source = id; look(); });
    return el("label", { className: "choice" }, input, el("span", { textContent: path ? `${path} (${names[id]})` : "built-in shapes" }));
  }));
  await look();
}

/** Everything about the dataset that is chosen. */
async function look() {
  const now = ++turn;
  report = null;
  $("class-images").replaceChildren();
  $("class-title").hidden = true;
  $("more").hidden = true;
  vary();
  try {
    const found = await finished(() => api(`data/${source}`), $("progress"), () => now === turn);
    if (!found) return;
    report = found;
    show();
  } catch (error) {
    toast(error.message, true);
  }
}

function show() {
  const { images, layout, width, height, warnings, problems, notes, duplicates, unreadable } = report;
  const isOneSize = width.min === width.max && height.min === height.max;
  const size = isOneSize ? `${width.min} x ${height.min} pixels` : `${width.min} to ${width.max} pixels wide, ${height.min} to ${height.max} high`;
  $("about").textContent = `${images} images (${layout}), ${size}`;
  const line = (kind, text) => el("li", { className: kind, textContent: text });
  const findings = [
    ...problems.map((text) => line("bad", text)),
    ...warnings.map((text) => line("bad", text)),
    ...unreadable.map(({ image, reason }) => line("bad", `${image} ${reason}`)),
    ...notes.map((text) => line("quiet", text)),
  ];
  if (!findings.some((item) => item.className === "bad")) findings.unshift(line("good", "Nothing is wrong with it."));
  const groups = duplicates.map(({ images, across_classes, across_splits }) => {
    const kinds = [across_splits ? "leak: different splits" : "", across_classes ? "different labels" : ""].filter(Boolean);
    return line(kinds.length ? "bad" : "quiet", `identical${kinds.length ? ` (${kinds.join(", ")})` : ""}: ${images.join(", ")}`);
  });
  const box = groups.length ? el("details", {}, el("summary", { textContent: `${report.duplicate_groups} groups of identical images` }), el("ul", { className: "findings" }, groups)) : null;
  $("findings").replaceChildren(el("ul", { className: "findings" }, findings), ...(box ? [box] : []));
  classes();
}

function classes() {
  const most = Math.max(...report.classes.map((one) => one.train + one.val + one.test), 1);
  const rows = report.classes.map((one, label) => {
    const button = el("button", { type: "button", className: "link", textContent: one.name });
    button.addEventListener("click", () => pictures(label, "train", 0).catch((error) => toast(error.message, true)));
    const all = one.train + one.val + one.test;
    const bar = el("span", { className: "fill" });
    bar.style.width = `${100 * all / most}%`;
    return el("tr", {}, el("th", { scope: "row" }, button), [one.train, one.val, one.test, all].map((count) => el("td", { textContent: count })),
      el("td", { className: "wide" }, el("span", { className: "track" }, bar)));
  });
  $("classes").replaceChildren(el("thead", {}, el("tr", {}, ["class", "train", "val", "test", "all", ""].map((text) => el("th", { scope: "col", textContent: text })))),
    el("tbody", {}, rows));
  if (report.classes.length && report.usable) pictures(0, "train", 0).catch((error) => toast(error.message, true));
}

/** Thumbnails of a class. */
async function pictures(label, split, from) {
  const found = await api(`data/${source}/images?label=${label}&split=${split}&from=${from}&count=24`);
  $("class-title").hidden = false;
  $("class-title").textContent = `${report.classes[label].name}: ${found.total} in ${split}`;
  gallery($("class-images"), found.items, (index) => `/api/v1/data/${source}/${split}/${index}.png`, () => "", from > 0);
  $("more").hidden = from + found.items.length >= found.total;
  $("more").onclick = () => pictures(label, split, from + found.items.length);
}

/** Images whose labels may be wrong. */
async function judge() {
  if (!model()) return toast("There is no model yet whose doubts could be shown.", true);
  const split = chosen("split");
  const query = `split=${split}&images=1000&float=false`;
  try {
    const found = await finished(() => api(`models/${model()}/errors?${query}`), $("judging"), () => true);
    if (!found) return;
    const list = await api(`models/${model()}/errors/images?${query}&list=${chosen("list")}&count=24`);
    const name = (i) => found.classes[i];
    gallery($("suspects"), list.items, (item) => `/api/v1/models/${model()}/images/${split}/${item.image}.png`,
      ({ label, int8, probability }) => `labelled ${name(label)}, looks like ${name(int8)} (${percent(probability)})`, false);
  } catch (error) {
    toast(error.message, true);
  }
}

const sliders = [...document.querySelectorAll("[data-key]")];
let waiting;

/** Draws the preview a moment after the last change. */
function vary() {
  const set = sliders.filter((slider) => slider.value !== slider.dataset.off);
  sliders.forEach((slider) => { slider.parentElement.querySelector("output").textContent = slider.value; });
  $("keys").textContent = ["[augment]", ...set.map((slider) => `${slider.dataset.key} = ${slider.value}`)].join("\n");
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const query = set.map((slider) => `augment.${slider.dataset.key}=${slider.value}`).join("&");
    $("sheet").src = `/api/v1/data/${source}/preview.png?${query}`;
  }, 150);
}

sliders.forEach((slider) => slider.addEventListener("input", vary));
$("reset").addEventListener("click", () => { sliders.forEach((slider) => { slider.value = slider.dataset.off; }); vary(); });
$("use").addEventListener("click", () => {
  const keys = sliders.map((slider) => `augment.${slider.dataset.key}=${slider.value}`);
  localStorage.setItem("augment", keys.join("\n"));
  location.href = "/runs";
});
$("judge").addEventListener("click", judge);
document.querySelectorAll("[name=list]").forEach((input) => input.addEventListener("change", () => $("suspects").children.length && judge()));
onModel(() => $("suspects").replaceChildren());
start().catch((error) => toast(error.message, true));
