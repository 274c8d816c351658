// The page Runs: curves of one run or several, the job that goes on, and a form that starts one.

import { chart } from "./chart.js";
import { $, api, el, onModel, percent, post, toast } from "./common.js";

/** Runs whose curves are shown; the first has the buttons. */
let shown = [];
let runs = [];
let job = null;

const colours = 6;

/** Asks for everything again, now and then. */
async function watch() {
  try {
    [{ runs }, { job }] = await Promise.all([api("runs"), api("jobs")]);
    if (!shown.length) shown = (runs.find((run) => run.state === "training") ?? runs.at(-1)) ? [(runs.find((run) => run.state === "training") ?? runs.at(-1)).id] : [];
    shown = shown.filter((id) => runs.some((run) => run.id === id) || id === job?.run);
    table();
    await curves();
    console_();
  } catch (error) {
    toast(error.message, true);
  }
  setTimeout(watch, job && !job.is_over ? 1000 : 4000);
}

function table() {
  $("no-runs").hidden = runs.length > 0;
  const head = ["", "run", "state", "network", "epoch", "validation", "test"];
  const focused = document.activeElement?.dataset?.run;
  const rows = runs.map((run) => {
    const box = el("input", { type: "checkbox", checked: shown.includes(run.id) });
    box.setAttribute("aria-label", `show ${run.id}`);
    box.dataset.run = run.id;
    box.addEventListener("change", () => {
      shown = box.checked ? [...shown, run.id].slice(-colours) : shown.filter((id) => id !== run.id);
      curves();
    });
    const colour = shown.indexOf(run.id);
    const part = (value) => (value === null || value === undefined ? "" : percent(value));
    return el("tr", {}, el("td", {}, box), el("th", { scope: "row" }, el("span", { className: colour < 0 ? "" : `swatch colour-${colour}` }), run.id),
      [run.state, run.model ?? "", `${run.epoch} of ${run.epochs ?? "?"}`, part(run.best_val_acc), part(run.test_acc)].map((text) => el("td", { textContent: text })));
  });
  $("runs").replaceChildren(el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", textContent: text })))), el("tbody", {}, rows));
  if (focused) $("runs").querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
  const start = $("start");
  const ids = runs.filter((run) => run.best_val_acc !== null).map((run) => run.id);
  const known = [...start.options].slice(1).map((option) => option.value);
  if (ids.join("\n") !== known.join("\n")) {
    start.replaceChildren(start.options[0], ...ids.map((id) => el("option", { value: id, textContent: id })));
  }
}

async function curves() {
  const ids = shown.filter((id) => runs.some((run) => run.id === id));
  const found = await Promise.all(ids.map((id) => api(`runs/${encodeURIComponent(id)}`)));
  const line = (run, key, colour, dashed) => ({ points: run.history.map((one) => [one.epoch, one[key]]), colour, dashed });
  chart($("accuracy"), found.map((run, i) => line(run, "val_acc", i, false)), (value) => `${Math.round(100 * value)} %`);
  chart($("loss"), found.flatMap((run, i) => [line(run, "train_loss", i, true), line(run, "val_loss", i, false)]), (value) => value.toFixed(2));
  $("legend").replaceChildren(...(found.length > 1 ? found.map((run, i) => el("span", { className: "key" }, el("span", { className: `swatch colour-${i}` }), run.id)) : []));
  buttons(found[0]);
}

/** What can be done with the first of the runs that are shown. */
function buttons(run) {
  const ours = job && !job.is_over;
  const id = ours ? job.run : run?.id;
  $("run-title").textContent = id ?? "Curves";
  const state = ours && job.run === id ? job.state : run?.state;
  $("run-state").hidden = !state;
  $("run-state").textContent = state ?? "";
  $("run-state").className = `pill ${state}`;
  $("stop").hidden = !ours;
  $("stop").disabled = job?.state === "stopping";
  $("resume").hidden = ours || run?.state !== "stopped";
  $("export").hidden = ours || !run || run.best_val_acc === null;
  $("export").textContent = run?.exported ? "Export again" : "Export to int8";
  $("try").hidden = !run?.exported;
  $("try").href = `/?model=${encodeURIComponent(run?.id ?? "")}`;
  $("recipe-box").hidden = !run?.recipe;
  $("recipe").textContent = run?.recipe ?? "";
  $("resume").onclick = () => act("resume", { id: run.id });
  $("export").onclick = () => act("export", { id: run.id });
  $("start-training").disabled = !!ours;
}

/** What the job says. */
function console_() {
  $("log-box").hidden = !job?.log.length;
  if (!job) return;
  const log = $("log");
  const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.textContent = job.log.join("\n");
  if (isAtEnd) log.scrollTop = log.scrollHeight;
  if (job.state === "failed") $("log-box").open = true;
}

async function act(what, body) {
  try {
    ({ job } = await post(`jobs/${what}`, body));
    if (job.run) shown = [job.run];
    buttons(runs.find((run) => run.id === job.run));
  } catch (error) {
    toast(error.message, true);
  }
}

$("stop").addEventListener("click", () => act("stop"));
$("train").addEventListener("submit", (event) => {
  event.preventDefault();
  const set = {};
  for (const field of document.querySelectorAll("#train [data-key]")) set[field.dataset.key] = field.value;
  for (const line of $("more-keys").value.split("\n").filter((text) => text.trim())) {
    const at = line.indexOf("=");
    if (at < 1) return toast(`"${line}" is not KEY=VALUE`, true);
    set[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  act("train", { name: $("name").value, data: $("data").value, start: $("start").value || null, set });
});
const kept = localStorage.getItem("augment");
if (kept) {
  $("more-keys").value = kept;
  $("more-settings").open = true;
  localStorage.removeItem("augment");
}
onModel(() => {});
watch();
