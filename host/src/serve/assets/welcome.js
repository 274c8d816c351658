// What the page Try offers where there is no model: one of the built-in pictures, trained by a click.

import { $, ended, newRun, post, toast } from "./common.js";

/** Keys of the recipe: a small network that learns ten shapes in a few passes over the pictures. */
const SET = {
  "net.blocks": "[[8],[16],[32]]", "net.block-dropout": "[0.0,0.0,0.0]", "net.dense": "64", "net.dense-dropout": "0.1",
  "train.epochs": "4", "train.batch-size": "64", "train.lr": "0.05", "train.warmup-epochs": "0.5", "train.smoothing": "0.05", "train.ema": "0.0",
  "augment.flip": "0.0", "augment.shift": "2", "augment.cutout": "0",
};

const say = (text) => { $("example-note").textContent = text; };

async function example() {
  const name = await newRun("example");
  await post("jobs/train", { name, data: "shapes", set: SET });
  $("example").disabled = true;
  $("example-progress").hidden = false;
  const job = await ended(name, (run) => {
    if (run?.epochs) $("example-progress").value = run.epoch / run.epochs;
    say(run?.epoch ? `Pass ${run.epoch} of ${run.epochs} over the pictures: ${(100 * run.best_val_acc).toFixed(0)} % right` : "The first pass over the pictures ...");
  });
  if (job?.state === "finished") {
    location.href = `/?model=${encodeURIComponent(name)}`;
    return;
  }
  $("example").disabled = false;
  $("example-progress").hidden = true;
  say(job?.log.at(-1) ?? "");
}

/** Sets the card up, if it is there. */
export function welcome() {
  $("example")?.addEventListener("click", () => example().catch((error) => toast(error.message, true)));
}
