// What all pages share: elements, calls of the API, and which model is meant.

export const $ = (id) => document.getElementById(id);

/** An element with attributes or properties, and children; text is never read as HTML. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** The answer of the API at `path` below /api/v1. Throws what the server says is wrong. */
export async function api(path, options = {}) {
  const response = await fetch(`/api/v1/${path}`, options);
  const answer = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Sends `value` as JSON. */
export function post(path, value = {}) {
  return api(path, { method: "POST", body: JSON.stringify(value), headers: { "content-type": "application/json" } });
}

let fading;

/** Shows a message at the foot of the page for a while. */
export function toast(message, isBad = false) {
  const place = $("toast");
  place.textContent = message;
  place.classList.toggle("bad", isBad);
  place.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("shown"), 6000);
}

export const percent = (part) => `${(100 * part).toFixed(1)} %`;
export const millis = (ms) => (ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);
export const thousands = (number) => Math.round(number).toLocaleString("en").replaceAll(",", "\u202f");

/** The model that is chosen, as a part of an address; empty where there is none. */
export const model = () => encodeURIComponent($("model").value);

/** Keeps the choice from page to page, and calls `changed` whenever it is another. */
export function onModel(changed) {
  const select = $("model");
  const options = [...select.options].filter((option) => !option.disabled && option.value);
  const wanted = new URLSearchParams(location.search).get("model") ?? localStorage.getItem("model");
  const known = options.find((option) => option.value === wanted) ?? options[0];
  if (known) select.value = known.value;
  select.addEventListener("change", () => {
    localStorage.setItem("model", select.value);
    changed();
  });
  changed();
}

/** Bars of the likeliest classes into `place`. */
export function bars(place, top, winner) {
  const rows = top.map(({ label, score, probability }) => {
    const fill = el("span", { className: "fill" });
    fill.style.width = `${Math.max(100 * probability, 0.5)}%`;
    const number = Number.isInteger(score) ? `${score}` : score.toFixed(2);
    return el("div", { className: label === winner ? "bar best" : "bar" },
      el("span", { className: "name", textContent: label, title: label }),
      el("span", { className: "track" }, fill),
      el("span", { className: "part", textContent: percent(probability) }),
      el("span", { className: "score", textContent: number, title: "score" }));
  });
  place.replaceChildren(...rows);
}

/** The value of the radio button that is on in the group `name`. */
export const chosen = (name) => document.querySelector(`[name=${name}]:checked`)?.value;

/** Asks again until the work is done, and shows how far it is; nothing where `isWanted` says no. */
export async function finished(ask, progress, isWanted) {
  try {
    for (;;) {
      const answer = await ask();
      if (!isWanted()) return null;
      if (!answer.working) return answer;
      if (progress) {
        const { done, all } = answer.working;
        progress.hidden = false;
        if (all) [progress.max, progress.value] = [all, done];
        else progress.removeAttribute("value");
      }
      await new Promise((done) => setTimeout(done, 400));
    }
  } finally {
    if (progress) progress.hidden = true;
  }
}

/** The job that writes the run `name`, once it is over; `hear` gets the run as far as it is. */
export async function ended(name, hear) {
  for (;;) {
    const { job } = await api("jobs");
    if (!job || job.is_over) return job;
    // Its folder is not there at once.
    const { runs } = await api("runs");
    hear(runs.find((run) => run.id === name));
    await new Promise((done) => setTimeout(done, 500));
  }
}

/** `name`, or with a number behind it, as no run is called yet. */
export async function newRun(name) {
  const { runs } = await api("runs");
  const names = new Set(runs.map((run) => run.id));
  if (!names.has(name)) return name;
  let n = 2;
  while (names.has(`${name}-${n}`)) n++;
  return `${name}-${n}`;
}

/** Pictures with captions into `place`, behind those that are there or instead of them. */
export function gallery(place, items, address, caption, isMore) {
  const pictures = items.map((item) => {
    const text = caption(item);
    return el("figure", {}, el("img", { src: address(item), alt: text || "training image", loading: "lazy", className: "pixels" }),
      text ? el("figcaption", { textContent: text, title: text }) : null);
  });
  if (isMore) place.append(...pictures);
  else place.replaceChildren(...pictures);
}

/** Shows the webcam in the element `video`, and gives its stream; nothing, and says why, where it cannot be used. */
export async function openWebcam(video, more = {}) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, ...more } });
  } catch (error) {
    toast(`The webcam cannot be used: ${error.message}`, true);
    return null;
  }
  video.srcObject = stream;
  await video.play();
  return stream;
}
