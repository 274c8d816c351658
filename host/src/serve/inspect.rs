//! One picture as a model sees it, and what the model says of it before and after quantization.

use std::time::Instant;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Plan;
use ocellus_shared::preprocess::{pixel_of_int8, preprocess, region};
use serde_json::{Value, json};

use super::library::Loaded;
use super::message::Fault;
use crate::camera::{self, Sensor};
use crate::data::picture::Picture;
use crate::eval::single;

/// Classes that are shown.
pub const SHOWN: usize = 5;
/// Pixels of a picture at most: more than the cameras of phones have.
const MOST_PIXELS: u64 = 60_000_000;

/// A picture on its way into a model.
#[derive(Debug)]
pub struct Seen {
    /// The picture as it was sent, decoded.
    pub picture: Picture,
    /// The camera's frame, where it is seen through one: its bytes, as [`Sensor::default`] delivers them.
    pub frame: Option<Vec<u8>>,
    /// The model's input, int8, `(h, w, 3)`.
    pub image: Vec<i8>,
}

impl Seen {
    /// Decodes the bytes of a JPEG or PNG file and brings it to the size of `model`; with `through_camera` by way of a frame
    /// as a small sensor delivers it. It is the way of `ocellus run`.
    ///
    /// # Errors
    /// No picture, or one of too many pixels; a model that takes no colour pictures.
    pub fn new(model: &Loaded, bytes: &[u8], through_camera: bool) -> Result<Self, Fault> {
        let picture = Picture::decode_up_to(bytes, MOST_PIXELS).context("the picture");
        let picture = picture.map_err(|error| Fault::unusable(&error))?;
        let engine = model.engine()?;
        Self::of(picture, model, engine.plan(), through_camera).map_err(|error| Fault::unusable(&error))
    }

    fn of(picture: Picture, model: &Loaded, plan: &Plan, through_camera: bool) -> Result<Self> {
        let mut image = vec![0i8; plan.input().shape.len()];
        if through_camera {
            let sensor = Sensor::default();
            let data = camera::shoot(sensor, plan.crop(), picture.width, picture.height, &picture.pixels)?;
            preprocess(&frame(&data)?, plan.crop(), plan.input().shape, &mut image)?;
            return Ok(Self { picture, frame: Some(data), image });
        }
        // A copy only where it has another size.
        let large = model.enlarged().filter(|to| picture.is_smaller_than(to.side));
        let large = large.map(|to| picture.enlarged(to.side, to.crop));
        let Picture { width, height, pixels } = large.as_ref().unwrap_or(&picture);
        let whole = Frame::new(PixelFormat::Rgb888, *width, *height, pixels).context("the picture")?;
        preprocess(&whole, plan.crop(), plan.input().shape, &mut image)?;
        Ok(Self { picture, frame: None, image })
    }

    /// The model's input as RGB, `(h, w, 3)`.
    pub fn pixels(&self) -> Vec<u8> {
        self.image.iter().copied().map(pixel_of_int8).collect()
    }
}

/// The frame of [`Sensor::default`] with these bytes.
///
/// # Errors
/// They are not as many as it has.
pub fn frame(data: &[u8]) -> Result<Frame<'_>> {
    let Sensor { format, width, height } = Sensor::default();
    Frame::new(format, width, height, data).context("the frame")
}

/// What `run --json` says of the picture in `bytes`, which it calls `name`.
///
/// # Errors
/// As for [`Seen::new`].
pub fn classify(model: &Loaded, bytes: &[u8], name: &str, through_camera: bool) -> Result<Value, Fault> {
    let seen = Seen::new(model, bytes, through_camera)?;
    let engine = model.engine()?;
    let scores = engine.scores(&seen.image).map_err(|error| Fault::unusable(&error))?;
    Ok(single::result(name, engine.plan(), &scores, None))
}

/// What to say of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Seen through a camera.
    pub through_camera: bool,
    /// Also by the network before quantization.
    pub float: bool,
    /// With pictures of what the board sees.
    pub pictures: bool,
}

/// What the board sees of the picture in `bytes`, and what float and int8 say of it.
///
/// # Errors
/// As for [`Seen::new`].
pub fn inspect(model: &Loaded, bytes: &[u8], wanted: Wanted) -> Result<Value, Fault> {
    let start = Instant::now();
    let seen = Seen::new(model, bytes, wanted.through_camera)?;
    let sees_ms = millis(start);
    let engine = model.engine()?;
    let start = Instant::now();
    let scores = engine.scores(&seen.image).map_err(|error| Fault::unusable(&error))?;
    let int8_ms = millis(start);
    let plan = engine.plan();
    let shape = plan.input().shape;
    let mut about = json!({
        "classes": plan.labels().collect::<Vec<_>>(),
        "picture": { "width": seen.picture.width, "height": seen.picture.height },
        "input": { "width": shape.w, "height": shape.h },
        "sees_ms": sees_ms,
        "int8": {
            "label": plan.label(single::best(&scores, 1)[0].class.into()),
            "scores": scores,
            "top": single::top(plan, &scores, SHOWN),
            "ms": int8_ms,
        },
    });
    if wanted.pictures {
        let part = region(plan.crop(), seen.picture.width, seen.picture.height, shape);
        about["crop"] = json!({ "x": part.x, "y": part.y, "width": part.width, "height": part.height });
        let url = |picture| data_url(picture).map_err(|error| Fault::unusable(&error));
        about["input"]["picture"] = json!(url(Picture { width: shape.w, height: shape.h, pixels: seen.pixels() })?);
        if let Some(data) = &seen.frame {
            let shown = frame(data).and_then(|frame| camera::rgb(&frame)).map_err(|error| Fault::unusable(&error))?;
            about["camera"] = json!({ "width": shown.width, "height": shown.height, "format": "RGB565" });
            about["camera"]["picture"] = json!(url(shown)?);
        }
    }
    if wanted.float {
        about["float"] = float(model, plan, &seen);
    }
    Ok(about)
}

/// What the network before quantization says; why it says nothing, where it does not.
fn float(model: &Loaded, plan: &Plan, seen: &Seen) -> Value {
    // Loading is no part of its latency.
    if let Err(error) = model.float() {
        return json!({ "error": error });
    }
    let shape = plan.input().shape;
    let start = Instant::now();
    match model.logits(&seen.pixels(), (shape.h, shape.w)) {
        Err(error) => json!({ "error": error }),
        Ok(logits) => {
            let ms = millis(start);
            let (label, top) = best_logits(plan, &logits);
            json!({ "label": label, "logits": logits, "top": top, "ms": ms })
        }
    }
}

/// The best class, and the best few with logits and probabilities.
fn best_logits(plan: &Plan, logits: &[f32]) -> (String, Vec<Value>) {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let odds: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - most).exp()).collect();
    let sum: f64 = odds.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Stable: of equals the first class comes first, as on the board.
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let label = |class: usize| plan.label(class).unwrap_or_default();
    let one =
        |&class: &usize| json!({ "label": label(class), "score": logits[class], "probability": odds[class] / sum });
    (
        order.first().map(|&class| label(class).to_owned()).unwrap_or_default(),
        order.iter().take(SHOWN).map(one).collect(),
    )
}

/// A picture that stands in a page itself.
///
/// # Errors
/// It cannot be encoded.
pub fn data_url(picture: Picture) -> Result<String> {
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(picture.to_png()?)))
}

/// Milliseconds since `start`.
pub fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
