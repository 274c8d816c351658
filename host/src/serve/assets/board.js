// The page Board: an emulated board that watches test images or the webcam, and what boards need for the model.

import { $, api, bars, el, finished, millis, model, onModel, openWebcam, thousands, toast } from "./common.js";
import { forgetRealBoard, realBoard } from "./device.js";

/** Who is watched: "data", "webcam" or nobody. */
let watched = null;
let stream = null;

const buttons = { data: $("watch-data"), webcam: $("watch-webcam") };

async function watch(what) {
  const isSame = watched === what;
  stop();
  if (isSame) return;
  if (what === "webcam") {
    stream = await openWebcam($("video"));
    if (!stream) return;
  }
  watched = what;
  buttons[what].setAttribute("aria-pressed", "true");
  $("off").textContent = "Its program is built, and it boots ...";
  try {
    await look(what);
  } catch (error) {
    toast(error.message, true);
    stop();
  }
}

function stop() {
  watched = null;
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  Object.values(buttons).forEach((button) => button.setAttribute("aria-pressed", "false"));
  $("frame").hidden = true;
  $("off").hidden = false;
  $("off").textContent = "The board is off.";
  $("rate").textContent = "";
}

/** One frame after the other through the board's camera, engine and board side by side. */
async function look(what) {
  let [frames, equal, last] = [0, 0, null];
  for (let i = 0; watched === what; i++) {
    const blob = what === "webcam" ? await photo() : await image(i);
    const options = { method: "POST", body: blob };
    const [seen, said] = await Promise.all([
      api(`models/${model()}/inspect?camera=true&float=false`, options), api(`models/${model()}/board?camera=true`, options)]);
    if (watched !== what) return;
    frames++;
    equal += said.equals_engine;
    const now = performance.now();
    $("frame").src = seen.camera.picture;
    $("frame").hidden = false;
    $("off").hidden = true;
    $("label").textContent = said.label;
    bars($("bars"), said.top, said.label);
    $("rate").textContent = `${last === null ? "" : `${(1000 / (now - last)).toFixed(1)} frames/s, `}emulated in ${millis(said.ms)}`;
    $("equal").textContent = `${frames} frames; engine and board agreed on every score of ${equal}.`;
    $("equal").className = equal === frames ? "note good" : "note bad";
    last = now;
  }
}

async function photo() {
  const video = $("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, Math.round(320 * video.videoHeight / video.videoWidth) || 240];
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

async function image(i) {
  const response = await fetch(`/api/v1/models/${model()}/images/test/${i}.png`);
  if (response.ok) return response.blob();
  if (response.status === 404 && i > 0) return image(0);
  throw new Error((await response.json()).error);
}

let turn = 0;

/** What a board needs for the model. */
async function analyze() {
  const now = ++turn;
  if (!model()) return;
  $("fits").textContent = "The board's program is being built, to know its size. That takes a minute the first time ...";
  $("fits").className = "note";
  $("gauges").replaceChildren();
  $("layers-box").hidden = true;
  try {
    const about = await finished(() => api(`models/${model()}/analysis/${encodeURIComponent($("board").value)}`), null, () => now === turn);
    if (about) show(about);
  } catch (error) {
    if (now === turn) $("fits").textContent = error.message;
  }
}

function show(about) {
  $("fits").textContent = about.fits ? `It fits ${about.board}.` : `It does not fit ${about.board}.`;
  $("fits").className = about.fits ? "note good" : "note bad";
  const gauge = (name, used, room, unit) => {
    const part = room ? used / room : 0;
    const fill = el("span", { className: part > 1 ? "fill over" : "fill" });
    fill.style.width = `${Math.min(100, 100 * part)}%`;
    return el("div", { className: "gauge" }, el("span", { textContent: name }),
      el("strong", { textContent: room ? `${thousands(used)} of ${thousands(room)} ${unit}` : `${thousands(used)} ${unit}` }),
      room ? el("span", { className: "track" }, fill) : null);
  };
  const time = about.time_ms ? `${about.time_ms[0].toFixed(1)} to ${about.time_ms[1].toFixed(1)} ms at the board's clock` : "the clock is not known";
  $("gauges").replaceChildren(
    gauge("Flash: plan", about.plan_bytes, about.plan_room_bytes, "bytes"),
    gauge("Flash: program", about.program_bytes, about.program_room_bytes, "bytes"),
    gauge("RAM: arena", about.arena_bytes, about.arena_room_bytes, "bytes"),
    gauge("RAM in all, with stack and frames", about.ram_bytes, null, "bytes"),
    gauge("Multiply-accumulates", about.macs, null, ""),
    gauge(`Instructions, ${time}`, about.instructions, null, ""));
  const head = ["", "layer", "shape", "kernel", "MACs", "instructions", "parameters", "memory"];
  const rows = about.layers.map((layer, i) => el("tr", {}, el("th", { scope: "row", textContent: i }),
    [layer.op, layer.shape, layer.kernel, thousands(layer.macs), thousands(layer.instructions), thousands(layer.parameter_bytes), thousands(layer.working_bytes)]
      .map((text) => el("td", { textContent: text }))));
  $("layers").replaceChildren(el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", textContent: text })))), el("tbody", {}, rows));
  $("layers-box").hidden = false;
}

buttons.data.addEventListener("click", () => watch("data"));
buttons.webcam.addEventListener("click", () => watch("webcam"));
$("board").addEventListener("change", analyze);
realBoard();
onModel(() => { stop(); forgetRealBoard(); analyze(); });
