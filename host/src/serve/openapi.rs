//! The description of the API by OpenAPI 3.1.

use serde_json::{Value, json};

/// The document.
pub fn document() -> Value {
    let mut paths = json!({
        "/api/v1/models": { "get": get("List the models", vec![]) },
        "/api/v1/models/{model}/classify": { "post": picture(
            "Classify a picture with the plan: the object that `ocellus run --json` prints",
            vec![query("name", "What the answer calls the picture", "string"), camera()],
        ) },
        "/api/v1/models/{model}/inspect": { "post": picture(
            "Scores before and after quantization, latencies, and what the board sees",
            vec![camera(), query("float", "Also ask the float network; true by default", "boolean"),
                 query("pictures", "With pictures as data URLs; true by default", "boolean")],
        ) },
        "/api/v1/models/{model}/occlusion": { "post": picture(
            "Where the model looks: mean drop of the winning logit while a patch is covered, 16 x 16",
            vec![camera()],
        ) },
        "/api/v1/models/{model}/board": { "post": picture(
            "Scores of the emulated board, and whether they equal the engine's",
            vec![camera()],
        ) },
        "/api/v1/models/{model}/errors": { "get": get(
            "Figures and confusion matrices on the model's dataset; {\"working\": ...} until they are there",
            [vec![path("model")], evaluation()].concat(),
        ) },
        "/api/v1/models/{model}/errors/images": { "get": get(
            "Images of an evaluation",
            [
                vec![path("model")],
                evaluation(),
                vec![
                    query("list", "cell, changed, contradicted or doubted", "string"),
                    query("label", "Of a cell: the class", "integer"),
                    query("taken", "Of a cell: what it was taken for", "integer"),
                    query("by-float", "Of a cell: by float; false by default", "boolean"),
                ],
                slice(),
            ]
            .concat(),
        ) },
        "/api/v1/models/{model}/images/{split}/{number}.png": { "get": file(
            "An image of the model's dataset",
            vec![path("model"), path("split"), path("number")],
        ) },
        "/api/v1/models/{model}/analysis/{board}": { "get": get(
            "What `ocellus analyze --json` prints; {\"working\": ...} while the board's program is built",
            vec![path("model"), path("board")],
        ) },
        "/api/v1/data": { "get": get("List the datasets", vec![]) },
        "/api/v1/data/{data}": { "get": get(
            "What `ocellus data check --json` prints, shortened; {\"working\": ...} until it is there",
            vec![path("data")],
        ) },
        "/api/v1/data/{data}/images": { "get": get(
            "Numbers of the images of a class",
            [
                vec![path("data"), query("split", "train, val or test", "string"), query("label", "Class", "integer")],
                slice(),
            ]
            .concat(),
        ) },
        "/api/v1/data/{data}/{split}/{number}.png": { "get": file(
            "An image of a dataset",
            vec![path("data"), path("split"), path("number")],
        ) },
        "/api/v1/data/{data}/preview.png": { "get": file(
            "Training images as the recipe's keys augment.*, given in the query, vary them",
            vec![path("data"), query("augment.rotate", "As the recipe's key; so are all others of [augment]", "number")],
        ) },
        "/api/v1/photos": { "get": get("The classes that photos were taken of", vec![]) },
        "/api/v1/photos/{class}": { "post": picture_of(
            "Add a photo to a class unless there is one like it",
            vec![path("class")],
        ) },
        "/api/v1/photos/{class}/undo": { "post": get(
            "Take the newest photos of a class away again, of those that were added since the server started",
            vec![path("class"), query("count", "How many; 1 by default", "integer")],
        ) },
        "/api/v1/jobs": { "get": get("The job that runs, or the last one", vec![]) },
        "/api/v1/jobs/train": { "post": job(
            "Train, quantize and export",
            json!({
                "name": { "type": "string" },
                "data": { "type": "string" },
                "start": { "type": "string" },
                "set": { "type": "object", "additionalProperties": { "type": "string" } },
            }),
        ) },
        "/api/v1/jobs/resume": { "post": job(
            "Resume a run",
            json!({ "id": { "type": "string" }, "epochs": { "type": "integer" } }),
        ) },
        "/api/v1/jobs/export": { "post": job("Quantize and export a run", json!({ "id": { "type": "string" } })) },
        "/api/v1/jobs/flash": { "post": job(
            "Write a model, and the program unless model_only, to a real board; GET /api/v1/jobs says how far it is",
            json!({
                "id": { "type": "string" },
                "board": { "type": "string" },
                "probe": { "type": "string", "description": "VID:PID[:SERIAL], or simulated" },
                "model_only": { "type": "boolean" },
            }),
        ) },
        "/api/v1/jobs/stop": { "post": get("Ask the job that runs to save and end", vec![]) },
        "/api/v1/board": { "get": get("The emulated board, and what keeps it from being emulated", vec![]) },
        "/api/v1/probes": { "get": get("The debug probes that are plugged in", vec![]) },
        "/api/v1/live": { "get": get(
            "What the real board that is watched sees; the view ends when nobody asks for some seconds",
            vec![query("after", "Answer as soon as more happened than what had this number", "integer")],
        ) },
        "/api/v1/live/start": { "post": job(
            "Watch a real board that runs a model, as `ocellus monitor` does",
            json!({
                "id": { "type": "string" },
                "board": { "type": "string" },
                "probe": { "type": "string", "description": "VID:PID[:SERIAL], or simulated" },
                "pictures": { "type": "boolean", "description": "It sends its frames; true by default" },
            }),
        ) },
        "/api/v1/live/stop": { "post": get("Stop watching", vec![]) },
        "/api/v1/runs": { "get": get("List the training runs", vec![]) },
        "/api/v1/runs/{run}": { "get": get("A run with every epoch and its recipe", vec![path("run")]) },
        "/api/v1/runs/{run}/metrics": { "get": get("Final figures: metrics.json of the run", vec![path("run")]) },
    });
    for (_, item) in paths.as_object_mut().into_iter().flatten() {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            operation["responses"]["4XX"] = json!({ "description": "Why not: {\"error\": MESSAGE}" });
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ocellus",
            "description": "Models, runs and pictures of a folder, served by `ocellus serve`",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "security": [{}, { "token": [] }],
    })
}

fn get(summary: &str, parameters: Vec<Value>) -> Value {
    let content = json!({ "application/json": { "schema": { "type": "object" } } });
    json!({
        "summary": summary,
        "parameters": parameters,
        "responses": { "200": { "description": "One JSON object", "content": content } },
    })
}

/// A call that answers with a PNG file.
fn file(summary: &str, parameters: Vec<Value>) -> Value {
    let mut operation = get(summary, parameters);
    operation["responses"]["200"]["content"] = json!({ "image/png": {} });
    operation
}

/// A call that starts a job.
fn job(summary: &str, properties: Value) -> Value {
    let mut operation = get(summary, vec![]);
    let schema = json!({ "type": "object", "properties": properties });
    operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    operation
}

/// Which images of a model's dataset are evaluated.
fn evaluation() -> Vec<Value> {
    vec![
        query("split", "train, val or test, which is usual", "string"),
        query("images", "Most images, drawn at random; 1000 by default", "integer"),
        query("float", "Also by the float network; true by default", "boolean"),
    ]
}

/// Which part of a list is answered.
fn slice() -> Vec<Value> {
    vec![query("from", "First item; 0 by default", "integer"), query("count", "Most items", "integer")]
}

/// A call that takes a picture for a model.
fn picture(summary: &str, parameters: Vec<Value>) -> Value {
    picture_of(summary, [vec![path("model")], parameters].concat())
}

/// A call that takes a picture.
fn picture_of(summary: &str, parameters: Vec<Value>) -> Value {
    let mut operation = get(summary, parameters);
    let file = json!({ "schema": { "type": "string", "format": "binary" } });
    operation["requestBody"] = json!({
        "required": true,
        "description": "The bytes of a JPEG or PNG file",
        "content": { "image/jpeg": file, "image/png": file },
    });
    operation
}

fn path(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn query(name: &str, description: &str, kind: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
}

fn camera() -> Value {
    query("camera", "See it through a camera: RGB565, 160x120; false by default", "boolean")
}
