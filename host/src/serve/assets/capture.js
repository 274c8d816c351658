// The page Capture: pictures of classes, from the webcam or from files, and training by one click.

import { $, api, el, ended, newRun, onModel, openWebcam, post, toast } from "./common.js";

/** Pictures of a class that are enough to begin with, and those without which it makes no sense. */
const ENOUGH = 20;
const LEAST = 5;
const TYPES = "image/jpeg,image/png,.jpg,.jpeg,.png";
let classes = [];
let stream = null;
/** The class whose button is held down. */
let taking = null;
let busy = false;
/** How many pictures of which class were added last. */
let last = new Map();

async function refresh() {
  const found = await api("photos");
  const fresh = classes.filter(({ name, count }) => !count && !found.classes.some((one) => one.name === name));
  classes = [...found.classes, ...fresh];
  show();
}

function show() {
  const focused = document.activeElement?.dataset?.key;
  $("classes").replaceChildren(...classes.map(row));
  if (focused) $("classes").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  $("no-classes").hidden = classes.length > 0;
  $("undo").hidden = !last.size || !!taking;
  advise();
}

/** A class with its count and its buttons. */
function row({ name, count }) {
  const hold = button(`take:${name}`, "Hold to take", `Take photos of ${name}`);
  hold.disabled = !stream;
  hold.setAttribute("aria-pressed", "false");
  hold.addEventListener("pointerdown", () => take(name));
  hold.addEventListener("keydown", (event) => { if ([" ", "Enter"].includes(event.key) && !event.repeat) take(name); });
  hold.addEventListener("keyup", stop);
  const input = el("input", { type: "file", multiple: true, accept: TYPES, className: "hidden", tabIndex: -1 });
  input.setAttribute("aria-label", `Pictures of ${name}`);
  input.dataset.files = name;
  input.addEventListener("change", () => addAll([...input.files].map((file) => [name, file])));
  const choose = button(`choose:${name}`, "Add pictures", `Add pictures of ${name}`);
  choose.addEventListener("click", () => input.click());
  const bar = el("span", { className: "fill" });
  const item = el("li", {}, el("strong", { textContent: name }), el("span", { className: "count", textContent: count }),
    el("span", { className: "actions" }, hold, choose, input), el("span", { className: "track" }, bar));
  bar.style.width = `${Math.min(100, 100 * count / ENOUGH)}%`;
  item.dataset.name = name;
  item.addEventListener("dragover", () => item.classList.add("over"));
  item.addEventListener("dragleave", () => item.classList.remove("over"));
  item.addEventListener("drop", (event) => {
    item.classList.remove("over");
    addAll([...event.dataTransfer.files].map((file) => [name, file]));
  });
  return item;
}

function button(key, textContent, label) {
  const made = el("button", { type: "button", textContent });
  made.dataset.key = key;
  made.setAttribute("aria-label", label);
  return made;
}

const item = (name) => $("classes").querySelector(`[data-name="${CSS.escape(name)}"]`);
const holder = (name) => $("classes").querySelector(`[data-key="${CSS.escape(`take:${name}`)}"]`);

/** What to do next. */
function advise() {
  const full = classes.filter(({ count }) => count >= LEAST);
  const poor = classes.filter(({ count }) => count < LEAST);
  $("train").disabled = full.length < 2 || poor.length > 0 || busy;
  if (busy) return;
  if (classes.length < 2) $("advice").textContent = `Name ${classes.length ? "a second class" : "two classes"} to begin.`;
  else if (poor.length) $("advice").textContent = `${poor.map(({ name }) => name).join(", ")}: at least ${LEAST} pictures, better ${ENOUGH}.`;
  else $("advice").textContent = "Ready to train. More pictures, in other light and from other sides, make it surer.";
}

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
  const held = holder(name);
  held?.setAttribute("aria-pressed", "true");
  if (held) held.textContent = "Taking ...";
  let [kept, alike] = [0, 0];
  begin();
  const canvas = document.createElement("canvas");
  const video = $("video");
  [canvas.width, canvas.height] = [320, Math.round(320 * video.videoHeight / video.videoWidth) || 240];
  while (taking === name && stream) {
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    try {
      const said = await add(name, blob);
      said.kept ? kept++ : alike++;
      $("taken").textContent = `${name}: ${kept} taken, ${alike} left out because they are like others`;
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

/** What was added before stays. */
function begin() {
  last = new Map();
  $("undo").hidden = true;
}

/** Takes away what was added last. */
async function undo() {
  let removed = 0;
  for (const [name, count] of last) {
    const said = await api(`photos/${encodeURIComponent(name)}/undo?count=${count}`, { method: "POST" });
    removed += said.removed;
    classes.filter((one) => one.name === name).forEach((one) => { one.count = said.count; });
  }
  begin();
  $("taken").textContent = `${removed} removed`;
  show();
}

/** Adds a photo to a class. */
async function add(name, blob) {
  const said = await api(`photos/${encodeURIComponent(name)}`, { method: "POST", body: blob });
  if (said.kept) last.set(name, (last.get(name) ?? 0) + 1);
  const one = classes.find((known) => known.name === name);
  if (one) one.count = said.count;
  else classes.push({ name, count: said.count });
  const place = item(name);
  if (place) {
    place.querySelector(".count").textContent = said.count;
    place.querySelector(".fill").style.width = `${Math.min(100, 100 * said.count / ENOUGH)}%`;
  } else show();
  return said;
}

/** Adds files, each with the name of its class, and says what became of them. */
async function addAll(files) {
  let [kept, alike] = [0, 0];
  const unread = [];
  begin();
  for (const [at, [name, file]] of files.entries()) {
    $("taken").textContent = `${at} of ${files.length} ...`;
    try {
      (await add(name, await smaller(file))).kept ? kept++ : alike++;
    } catch (error) {
      unread.push(`${file.name}: ${error.message}`);
    }
  }
  const parts = [`${kept} added`, alike ? `${alike} left out because they are like others` : "", unread.length ? `${unread.length} cannot be used` : ""];
  const names = [...new Set(files.map(([name]) => name))];
  if (files.length) $("taken").textContent = `${names.join(", ")}: ${parts.filter(Boolean).join(", ")}`;
  if (unread.length) toast(unread.slice(0, 3).join("; "), true);
  show();
}

/** A large picture at a size that is enough for training. */
async function smaller(file) {
  const bitmap = await createImageBitmap(file).catch(() => { throw new Error("this is no JPEG or PNG picture"); });
  const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale)];
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** The pictures of a folder, each of the class that its own folder names. */
function inFolders(files) {
  const pictures = files.filter((file) => /\.(jpe?g|png)$/i.test(file.name));
  return pictures.map((file) => [file.webkitRelativePath.split("/").at(-2), file]);
}

/** A small network on what was taken, then its export. */
async function train() {
  const name = await newRun("captured");
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
  await follow(name);
}

/** Shows how far a training is, until it is over. */
async function follow(name) {
  busy = true;
  show();
  $("try").hidden = true;
  $("stop-training").hidden = false;
  $("progress").hidden = false;
  const job = await ended(name, (run) => {
    if (run?.epochs) $("progress").value = run.epoch / run.epochs;
    if (run?.epoch && run.epoch === run.epochs) $("advice").textContent = "It is being quantized for the board.";
    else $("advice").textContent = run?.epoch ? `Epoch ${run.epoch} of ${run.epochs}: ${(100 * run.best_val_acc).toFixed(0)} % right on pictures that it does not train on` : "It reads the pictures.";
  });
  busy = false;
  $("progress").hidden = true;
  $("stop-training").hidden = true;
  show();
  if (job?.state === "finished") {
    $("advice").textContent = `"${name}" is trained and ready for the board.`;
    $("try").hidden = false;
    $("try").href = `/?model=${encodeURIComponent(name)}`;
  } else if (job) {
    $("advice").textContent = job.state === "stopped" ? "The training was stopped." : job.log.at(-1) ?? "The training failed.";
  }
}

$("live").addEventListener("click", live);
$("undo").addEventListener("click", () => undo().catch((error) => toast(error.message, true)));
document.addEventListener("pointerup", stop);
document.addEventListener("pointercancel", stop);
// A picture that misses its class must not take the place of the page.
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("new-class").value.trim();
  if (name && !classes.some((known) => known.name === name)) classes.push({ name, count: 0 });
  $("new-class").value = "";
  show();
});
$("add-folder").addEventListener("click", () => $("folder").click());
$("folder").addEventListener("change", (event) => {
  const files = inFolders([...event.target.files]);
  if (files.length) addAll(files);
  else toast("The folder holds no JPEG or PNG pictures.", true);
});
$("train").addEventListener("click", () => train().catch((error) => toast(error.message, true)));
$("stop-training").addEventListener("click", () => post("jobs/stop").catch((error) => toast(error.message, true)));
onModel(() => {});
refresh().catch((error) => toast(error.message, true));
// A training that goes on while the page is opened again.
api("jobs").then(({ job }) => { if (job?.kind === "train" && !job.is_over) return follow(job.run); }).catch(() => {});
