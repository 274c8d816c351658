// The page Capture: photos of classes, and training by one click.

import { $, api, el, onModel, openWebcam, post, toast } from "./common.js";

const ENOUGH = 20;
let classes = [];
let stream = null;
/** The class whose button is held down, or that got files. */
let taking = null;

async function refresh() {
  const found = await api("photos");
  const fresh = classes.filter(({ name, count }) => !count && !found.classes.some((one) => one.name === name));
  classes = [...found.classes, ...fresh];
  show();
}

function show() {
  const focused = document.activeElement?.dataset?.name;
  $("classes").replaceChildren(...classes.map(({ name, count }) => {
    const hold = el("button", { type: "button", textContent: "Hold to take", disabled: !stream });
    hold.dataset.name = name;
    hold.setAttribute("aria-pressed", "false");
    hold.setAttribute("aria-label", `Take photos of ${name}`);
    hold.addEventListener("pointerdown", () => take(name));
    hold.addEventListener("keydown", (event) => { if ([" ", "Enter"].includes(event.key) && !event.repeat) take(name); });
    hold.addEventListener("keyup", stop);
    const select = el("input", { type: "radio", name: "class", value: name, checked: name === chosenClass() });
    const bar = el("span", { className: "fill" });
    bar.style.width = `${Math.min(100, 100 * count / ENOUGH)}%`;
    return el("li", {}, el("label", {}, select, el("strong", { textContent: name })), el("span", { className: "count", textContent: count }),
      el("span", { className: "track" }, bar), hold);
  }));
  if (focused) $("classes").querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
  const full = classes.filter(({ count }) => count >= 5).length;
  $("train").disabled = full < 2 || busy;
  $("advice").textContent = full < 2 ? "Two classes with five photos each are the least; twenty of each are better." : "More photos, in other light and from other sides, make it surer.";
}

let picked = null;
const chosenClass = () => picked ?? classes[0]?.name;
document.addEventListener("change", (event) => { if (event.target.name === "class") picked = event.target.value; });

async function live() {
  if (stream) {
    stream.getTracks().forEach((track) => track.stop());
    stream = null;
  } else {
    stream = await openWebcam($("video"));
    if (!stream) return;
  }
  $("off").hidden = !!stream;
  $("live").textContent = stream ? "Stop the webcam" : "Start the webcam";
  $("live").setAttribute("aria-pressed", !!stream);
  if (!stream) $("video").srcObject = null;
  show();
}

/** Takes photos of a class while its button is held. */
async function take(name) {
  if (taking || !stream) return;
  taking = name;
  const button = $("classes").querySelector(`[data-name="${CSS.escape(name)}"]`);
  button?.setAttribute("aria-pressed", "true");
  if (button) button.textContent = "Taking ...";
  let [kept, alike] = [0, 0];
  const canvas = document.createElement("canvas");
  const video = $("video");
  [canvas.width, canvas.height] = [320, Math.round(320 * video.videoHeight / video.videoWidth) || 240];
  while (taking === name && stream) {
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    try {
      const said = await add(name, blob);
      said.kept ? kept++ : alike++;
      $("taken").textContent = `${name}: ${kept} taken, ${alike} were like others`;
    } catch (error) {
      toast(error.message, true);
      break;
    }
    await new Promise((done) => setTimeout(done, 150));
  }
  stop();
}

function stop() {
  if (!taking) return;
  taking = null;
  show();
}

/** Adds a photo to a class. */
async function add(name, blob) {
  const said = await api(`photos/${encodeURIComponent(name)}`, { method: "POST", body: blob });
  const one = classes.find((known) => known.name === name);
  if (one) one.count = said.count;
  const item = $("classes").querySelector(`[data-name="${CSS.escape(name)}"]`)?.closest("li");
  if (item) {
    item.querySelector(".count").textContent = said.count;
    item.querySelector(".fill").style.width = `${Math.min(100, 100 * said.count / ENOUGH)}%`;
  }
  return said;
}

let busy = false;

/** A small network on what was taken, then its export. */
async function train() {
  const { runs } = await api("runs");
  const names = new Set(runs.map((run) => run.id));
  let name = "captured";
  for (let n = 2; names.has(name); n++) name = `captured-${n}`;
  const photos = classes.reduce((sum, { count }) => sum + count, 0);
  const batch = Math.max(4, Math.min(32, Math.floor(photos / 4)));
  const set = {
    "data.img-size": "48", "train.epochs": "40", "train.batch-size": String(batch), "train.opt": "adam", "train.lr": "0.002", "train.ema": "0.9",
    "augment.flip": "0.5", "augment.shift": "4", "augment.rotate": "10", "augment.zoom": "0.15", "augment.brightness": "0.25", "augment.contrast": "0.25",
    "augment.cutout": "12",
  };
  try {
    await post("jobs/train", { name, data: "photos", set });
  } catch (error) {
    return toast(error.message, true);
  }
  busy = true;
  show();
  $("try").hidden = true;
  $("progress").hidden = false;
  await follow(name);
}

async function follow(name) {
  for (;;) {
    const { job } = await api("jobs");
    if (!job || job.is_over) {
      busy = false;
      $("progress").hidden = true;
      show();
      if (job?.state === "finished") {
        $("advice").textContent = `${name} is trained and quantized: the emulated board can name what it sees.`;
        $("try").hidden = false;
        $("try").href = `/?model=${encodeURIComponent(name)}`;
      } else if (job) {
        $("advice").textContent = job.log.at(-1) ?? `the training ${job.state}`;
      }
      return;
    }
    const run = await api(`runs/${encodeURIComponent(name)}`).catch(() => null);
    if (run?.epochs) $("progress").value = run.epoch / run.epochs;
    $("advice").textContent = run?.epoch ? `Epoch ${run.epoch} of ${run.epochs}, ${(100 * run.best_val_acc).toFixed(0)} % right on photos that it does not train on` : "It reads the photos.";
    await new Promise((done) => setTimeout(done, 500));
  }
}

$("live").addEventListener("click", live);
document.addEventListener("pointerup", stop);
document.addEventListener("pointercancel", stop);
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("new-class").value.trim();
  if (name && !classes.some((known) => known.name === name)) classes.push({ name, count: 0 });
  picked = name;
  $("new-class").value = "";
  show();
});
$("files").addEventListener("change", async (event) => {
  const name = chosenClass();
  const files = [...event.target.files];
  event.target.value = "";
  if (!name) return toast("Name a class first.", true);
  let [kept, alike] = [0, 0];
  for (const file of files) {
    try {
      (await add(name, await smaller(file))).kept ? kept++ : alike++;
    } catch (error) {
      toast(`${file.name}: ${error.message}`, true);
    }
    $("taken").textContent = `${name}: ${kept} added, ${alike} were like others`;
  }
  show();
});

/** A large picture at a size that is enough for training. */
async function smaller(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale)];
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

$("train").addEventListener("click", train);
onModel(() => {});
refresh().catch((error) => toast(error.message, true));
