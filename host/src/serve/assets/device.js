// A real board on the page Board: writing to it, and what it sees.

import { $, api, bars, el, millis, model, post, toast } from "./common.js";

/** Whether this page watches, and the number of what was seen last. */
let watching = false;
let seen = 0;
/** Whether this page waits for the end of a flash. */
let flashing = false;

const wanted = () => ({ id: decodeURIComponent(model()), board: $("real-board").value, probe: $("probe").value });

/** The probes that are plugged in, and the rehearsal. */
async function findProbes() {
  const { probes, access } = await api("probes");
  const before = $("probe").value;
  const options = probes.map(({ selector, name }) => el("option", { value: selector, textContent: `${name} (${selector})` }));
  $("probe").replaceChildren(...options, el("option", { value: "simulated", textContent: "none (rehearsal)" }));
  if ([...$("probe").options].some((option) => option.value === before)) $("probe").value = before;
  $("access-box").hidden = !access;
  $("access").textContent = access ?? "";
  explain();
}

function explain() {
  const isRehearsal = $("probe").value === "simulated";
  $("probe-note").textContent = isRehearsal
    ? "A rehearsal: the board's own program runs on this computer, behind a debug probe in software. Nothing real is written."
    : "Flashing replaces the program and the model that the board has.";
  buttons();
}

function buttons() {
  $("flash").disabled = !model() || flashing;
  $("watch-real").disabled = !model() || flashing;
  $("watch-real").setAttribute("aria-pressed", watching);
  $("watch-real").textContent = watching ? "Stop watching" : "Watch";
}

function say(text, kind = "") {
  $("real-note").textContent = text;
  $("real-note").className = `note ${kind}`;
}

/** Writes program and model to the board. */
async function flash() {
  await stop();
  try {
    await post("jobs/flash", { ...wanted(), model_only: $("model-only").checked });
  } catch (error) {
    return say(error.message, "bad");
  }
  await followFlash();
}

/** Shows how far the board's flash is written, until it is. */
async function followFlash() {
  flashing = true;
  buttons();
  try {
    for (;;) {
      const { job } = await api("jobs");
      const { progress } = job;
      $("flash-progress").hidden = job.is_over;
      if (progress) {
        const { what, done, all } = progress;
        $("flash-progress").max = all || 1;
        if (all) $("flash-progress").value = done;
        else $("flash-progress").removeAttribute("value");
        const last = all ? "" : job.log.at(-1) ?? "";
        say(`${what}${all ? `: ${Math.floor(100 * done / all)} %` : " ..."} ${last}`);
      }
      if (job.is_over) {
        say(job.log.at(-1) ?? job.state, job.state === "finished" ? "good" : "bad");
        return;
      }
      await new Promise((next) => setTimeout(next, 150));
    }
  } catch (error) {
    say(error.message, "bad");
  } finally {
    $("flash-progress").hidden = true;
    flashing = false;
    buttons();
  }
}

/** Watches the board, or stops. */
async function watch() {
  if (watching) return stop();
  // One who looks at a board that another page watches would end that.
  try {
    const { live } = await post("live/start", { ...wanted(), pictures: $("with-pictures").checked });
    [watching, seen] = [true, live.number - 1];
  } catch (error) {
    return say(error.message, "bad");
  }
  buttons();
  try {
    while (watching) {
      const { live } = await api(`live?after=${Math.max(seen, 0)}`);
      if (!watching) return;
      seen = live.number;
      show(live);
      if (live.is_over) break;
    }
  } catch (error) {
    say(error.message, "bad");
  }
  watching = false;
  buttons();
}

function show(live) {
  const { state, newest, fps, latency_ms: latency, frames, dropped } = live;
  if (state === "starting") say(`${live.doing} ...`);
  else if (state === "failed") say(live.doing, "bad");
  else say(`${live.board}${live.rehearsal ? ", rehearsed" : ""}: ${frames} frames, ${dropped} dropped.`, "good");
  $("real-log-box").hidden = !live.log.length;
  $("real-log").textContent = live.log.join("\n");
  if (!newest) return;
  $("real-frame").hidden = !newest.picture;
  if (newest.picture) $("real-frame").src = newest.picture;
  $("real-off").hidden = !!newest.picture;
  $("real-off").textContent = "It sends no pictures.";
  $("real-label").textContent = newest.label;
  $("real-rate").textContent = [fps ? `${fps.toFixed(1)} frames/s` : "", latency ? `${millis(latency)} to the label` : ""].filter(Boolean).join(", ");
  bars($("real-bars"), newest.top, newest.label);
}

async function stop() {
  if (!watching) return;
  watching = false;
  buttons();
  $("real-frame").hidden = true;
  $("real-off").hidden = false;
  $("real-off").textContent = "Nobody watches it.";
  $("real-rate").textContent = "";
  // The board must be free before something else is done with it.
  try {
    for (let { live } = await post("live/stop"); !live.is_over; { live } = await api(`live?after=${live.number}`));
  } catch (error) {
    toast(error.message, true);
  }
}

/** Sets the card up. */
export function realBoard() {
  $("flash").addEventListener("click", flash);
  $("watch-real").addEventListener("click", watch);
  $("find-probes").addEventListener("click", () => findProbes().catch((error) => toast(error.message, true)));
  $("probe").addEventListener("change", () => { stop(); explain(); });
  $("real-board").addEventListener("change", stop);
  $("with-pictures").addEventListener("change", async () => { if (watching) { await stop(); watch(); } });
  // A page that goes away sends this last request.
  addEventListener("pagehide", () => { if (watching) navigator.sendBeacon("/api/v1/live/stop"); });
  findProbes().catch((error) => toast(error.message, true));
  api("jobs").then(({ job }) => { if (job?.kind === "flash" && !job.is_over) followFlash(); }).catch(() => {});
}

/** Another model was chosen. */
export function forgetRealBoard() {
  stop();
  buttons();
}
