// The page Try: one picture or the webcam's, and what float, int8 engine and emulated board say of it.

import { $, api, bars, el, millis, model, onModel, openWebcam, toast } from "./common.js";
import { welcome } from "./welcome.js";

/** The picture that is asked about: bytes to send, and a bitmap to draw. */
let picture = null;
/** What was answered last. */
let answer = null;
/** Answers to questions before the last one are late. */
let turn = 0;
let stream = null;

const throughCamera = () => $("camera").checked;
const ask = (what, options = "") =>
  api(`models/${model()}/${what}?camera=${throughCamera()}${options}`, { method: "POST", body: picture.blob });

/** Takes a file of a person's choice. */
async function take(blob) {
  if (!blob) return;
  await stopLive();
  try {
    const bitmap = await createImageBitmap(blob);
    picture = { blob, bitmap };
  } catch {
    // The server knows better why.
    picture = { blob, bitmap: null };
  }
  await look();
}

/** Asks everything about the picture. */
async function look() {
  if (!picture) return;
  if (!model()) return toast("There is no model to ask yet: make one first.", true);
  const now = ++turn;
  forgetBoard();
  try {
    const seen = await ask("inspect");
    if (now !== turn) return;
    answer = seen;
    show(seen);
    draw();
    if ($("heat").checked) await lookWhere(now);
  } catch (error) {
    if (now === turn) fail(error);
  }
}

function fail(error) {
  answer = null;
  $("label").textContent = "This cannot be classified";
  for (const side of ["float", "int8"]) clear(side);
  $("steps").replaceChildren();
  $("scores").hidden = true;
  draw();
  toast(error.message, true);
}

function clear(side) {
  $(side).querySelector(".bars").replaceChildren();
  $(side).querySelector(".latency").textContent = "";
}

function show(seen) {
  $("label").textContent = seen.int8.label;
  fill("int8", seen.int8);
  if (seen.float) fill("float", seen.float);
  if (seen.input.picture) steps(seen);
  table();
}

/** One side's bars and latency. */
function fill(side, said) {
  const place = $(side);
  if (said.error) {
    clear(side);
    place.querySelector(".latency").textContent = said.error;
    return;
  }
  bars(place.querySelector(".bars"), said.top, said.label);
  place.querySelector(".latency").textContent = millis(said.ms);
}

/** The pictures on the way into the network. */
function steps(seen) {
  const step = (src, title, text, isSmall) =>
    el("figure", {}, el("img", { src, alt: title, className: isSmall ? "pixels" : "" }),
      el("figcaption", {}, el("strong", { textContent: title }), el("span", { textContent: text })));
  const { width, height } = seen.picture;
  const cut = seen.crop;
  const whole = cut.width === width && cut.height === height;
  const shown = [];
  if (picture?.bitmap) {
    shown.push(step(cropped(cut), whole ? "The whole picture" : "Cut out",
      whole ? `${width} x ${height}` : `${cut.width} x ${cut.height} of ${width} x ${height}`, false));
  }
  if (seen.camera) {
    shown.push(step(seen.camera.picture, "The camera's frame", `${seen.camera.width} x ${seen.camera.height}, ${seen.camera.format}`, true));
  }
  shown.push(step(seen.input.picture, "The network's input", `${seen.input.width} x ${seen.input.height}, in ${millis(seen.sees_ms)}`, true));
  $("steps").replaceChildren(...shown);
}

function cropped({ x, y, width, height }) {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, 320 / Math.max(width, height));
  canvas.width = Math.max(1, width * scale);
  canvas.height = Math.max(1, height * scale);
  canvas.getContext("2d").drawImage(picture.bitmap, x, y, width, height, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}

/** All scores, side by side. */
function table() {
  const { classes, int8, float, board } = answer;
  const head = ["class", "float", "int8 engine", ...(board ? ["board"] : [])];
  const rows = classes.map((name, i) => el("tr", {},
    el("th", { scope: "row", textContent: name }),
    el("td", { textContent: float?.logits ? float.logits[i].toFixed(3) : "" }),
    el("td", { className: "int8", textContent: int8.scores[i] }),
    board ? el("td", { className: board.scores[i] === int8.scores[i] ? "board same" : "board other", textContent: board.scores[i] }) : null));
  $("score-table").replaceChildren(
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", textContent: text })))),
    el("tbody", {}, rows));
  $("scores").hidden = false;
}

function forgetBoard() {
  clear("board");
  $("equal").textContent = "";
  $("equal").className = "note";
  $("ask-board").disabled = !boardIsThere || !picture;
}

let boardIsThere = false;

async function findBoard() {
  const { board, obstacle } = await api("board");
  boardIsThere = !obstacle;
  if (obstacle) $("board").querySelector(".latency").textContent = obstacle;
  else $("board").querySelector(".quiet").textContent = `${board} under QEMU`;
  $("ask-board").disabled = !boardIsThere || !picture;
}

async function askBoard() {
  const now = turn;
  const button = $("ask-board");
  button.disabled = true;
  button.textContent = "It is built and boots ...";
  try {
    const said = await ask("board");
    if (now !== turn || !answer) return;
    answer.board = said;
    fill("board", said);
    table();
    const same = said.scores.filter((score, i) => score === answer.int8.scores[i]).length;
    $("equal").textContent = said.equals_engine
      ? `Engine and board agree on all ${same} scores.`
      : `Engine and board agree on ${same} of ${said.scores.length} scores.`;
    $("equal").className = said.equals_engine ? "note good" : "note bad";
  } catch (error) {
    toast(error.message, true);
  } finally {
    button.textContent = "Ask the board";
    button.disabled = false;
  }
}

/** Fetches the occlusion map. */
async function lookWhere(now) {
  const said = await ask("occlusion");
  if (now !== turn || !answer) return;
  answer.heat = said;
  draw();
  $("heat-note").hidden = false;
  $("heat-note").textContent =
    `Warm where "${said.label}" loses score while that part is covered, cool where it gains; ${said.runs} runs of the plan.`;
}

/** Draws the picture, what is cut out of it, and where the model looks. */
function draw() {
  const stage = $("stage");
  if (stream) return;
  stage.hidden = !picture?.bitmap;
  $("hint").hidden = !!picture?.bitmap;
  $("video").hidden = true;
  if (!picture?.bitmap) return;
  const { width, height } = picture.bitmap;
  const scale = Math.min(1, 1280 / Math.max(width, height)) * (Math.max(width, height) < 320 ? Math.ceil(320 / Math.max(width, height)) : 1);
  stage.width = width * scale;
  stage.height = height * scale;
  const context = stage.getContext("2d");
  context.imageSmoothingEnabled = width >= 320;
  context.drawImage(picture.bitmap, 0, 0, stage.width, stage.height);
  if (!answer) return;
  const cut = answer.crop;
  const part = [cut.x, cut.y, cut.width, cut.height].map((value) => value * stage.width / answer.picture.width);
  if (answer.heat && $("heat").checked) heat(context, part, answer.heat.map);
  context.fillStyle = "rgba(0, 0, 0, 0.55)";
  const [x, y, w, h] = part;
  context.fillRect(0, 0, stage.width, y);
  context.fillRect(0, y + h, stage.width, stage.height - y - h);
  context.fillRect(0, y, x, h);
  context.fillRect(x + w, y, stage.width - x - w, h);
}

/** The map over the part that is cut out: warm for what speaks for the class, cool for what speaks against. */
function heat(context, [x, y, w, h], map) {
  const most = Math.max(...map.flat().map(Math.abs), 1e-6);
  const small = document.createElement("canvas");
  [small.width, small.height] = [map[0].length, map.length];
  const pixels = new ImageData(small.width, small.height);
  map.flat().forEach((drop, i) => {
    const part = drop / most;
    pixels.data.set(part > 0 ? [255, 120 - 90 * part, 0, 200 * part] : [0, 110, 255, -160 * part], 4 * i);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, x, y, w, h);
}

/** Starts the webcam, or stops it. */
async function live() {
  if (stream) return stopLive();
  if (!model()) return toast("There is no model to ask.", true);
  const video = $("video");
  stream = await openWebcam(video, { facingMode: "environment" });
  if (!stream) return;
  video.hidden = false;
  $("stage").hidden = true;
  $("hint").hidden = true;
  $("take").hidden = false;
  $("live").setAttribute("aria-pressed", "true");
  $("live").textContent = "Stop the webcam";
  forgetBoard();
  watch(video);
}

/** One frame after the other, as fast as they are answered. */
async function watch(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, Math.round(320 * video.videoHeight / video.videoWidth) || 240];
  const context = canvas.getContext("2d");
  let shown = 0;
  let rate = 0;
  while (stream) {
    const start = performance.now();
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    const now = ++turn;
    picture = { blob, bitmap: null };
    try {
      const seen = await ask("inspect");
      if (!stream || now !== turn) return;
      answer = seen;
      show(seen);
    } catch (error) {
      toast(error.message, true);
      await stopLive();
      return;
    }
    const fps = 1000 / (performance.now() - start);
    rate = shown++ ? 0.9 * rate + 0.1 * fps : fps;
    $("rate").textContent = `${rate.toFixed(0)} frames/s`;
    // A page in the background is asked for no frames.
    await new Promise((done) => requestAnimationFrame(done));
  }
}

async function stopLive() {
  if (!stream) return;
  stream.getTracks().forEach((track) => track.stop());
  stream = null;
  turn++;
  picture = null;
  $("video").srcObject = null;
  $("take").hidden = true;
  $("live").setAttribute("aria-pressed", "false");
  $("live").textContent = "Webcam";
  $("rate").textContent = "";
  draw();
}

/** Keeps what the webcam shows now as the picture. */
async function keep() {
  const video = $("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  await take(await new Promise((done) => canvas.toBlob(done, "image/png")));
}

/** Asks about one of the images that the model was not trained on. */
async function sample() {
  if (!model()) return toast("There is no model to ask.", true);
  const find = async (number) => fetch(`/api/v1/models/${model()}/images/test/${number}.png`);
  let response = await find(Math.floor(Math.random() * 1000));
  // Small datasets have fewer.
  if (response.status === 404) response = await find(0);
  if (!response.ok) return toast((await response.json()).error, true);
  await take(await response.blob());
}

$("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
$("choose").addEventListener("click", () => $("file").click());
$("live").addEventListener("click", live);
$("take").addEventListener("click", keep);
$("sample").addEventListener("click", () => sample().catch((error) => toast(error.message, true)));
$("ask-board").addEventListener("click", askBoard);
$("camera").addEventListener("change", () => { if (!stream) look(); });
$("heat").addEventListener("change", async () => {
  $("heat-note").hidden = true;
  draw();
  if ($("heat").checked && answer && !answer.heat && !stream) await lookWhere(turn).catch((error) => toast(error.message, true));
  else if ($("heat").checked && answer?.heat) $("heat-note").hidden = false;
});
document.addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
for (const name of ["dragover", "dragenter"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
});
welcome();
onModel(() => { if (!stream) look(); });
findBoard().catch((error) => toast(error.message, true));
