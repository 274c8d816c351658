//! Names that are not UTF-8, that a terminal obeys, or that a spreadsheet computes.

use crate::commands::{Model, run};
use ocellus::data::picture::Picture;
use ocellus_tests::program::ocellus;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Output;

/// As Latin-1 writes it.
fn cafe() -> &'static OsStr {
    OsStr::from_bytes(b"caf\xe9")
}

fn call(arguments: &[&OsStr]) -> Output {
    let output = ocellus().args(arguments).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

#[test]
fn a_model_and_a_picture_may_have_any_name() {
    let model = Model::new();
    let folder = model.0.path().join(cafe());
    fs::create_dir(&folder).unwrap();
    for file in ["model.plan", "model.onnx"] {
        fs::copy(model.file(file), folder.join(file)).unwrap();
    }
    let picture = folder.join(OsStr::from_bytes(b"\xff\x1b[31m.png"));
    let pixels = Picture { width: 8, height: 8, pixels: vec![9; 192] };
    fs::write(&picture, pixels.to_png().unwrap()).unwrap();
    let (folder, picture): (&OsStr, &OsStr) = (folder.as_ref(), picture.as_ref());
    let [run, eval, json, images, one] = ["run", "eval", "--json", "--images", "3"].map(OsStr::new);
    for arguments in [&[run, folder, picture][..], &[run, folder, picture, json], &[eval, folder, images, one, json]] {
        let output = call(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(r"caf\xe9") || said.contains(r"caf\\xe9"), "{said}");
        assert!(!said.contains('\x1b'), "{said:?}");
        assert!(!arguments.contains(&json) || serde_json::from_str::<serde_json::Value>(&said).is_ok(), "{said}");
    }
}

#[test]
fn what_a_recipe_cannot_hold_is_refused_first_with_the_true_reason() {
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join(cafe());
    fs::create_dir(&data).unwrap();
    for (flag, key) in
        [("--data", "data.path"), ("--pretrained", "net.pretrained"), ("--backbone", "transfer.backbone")]
    {
        let output = call(&["train".as_ref(), flag.as_ref(), data.as_ref()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(key) && said.contains("is not UTF-8") && said.contains(r"caf\xe9"), "{flag}: {said}");
    }
    // What only reads them takes them.
    for class in ["a", "b"] {
        fs::create_dir(data.join(class)).unwrap();
        for i in 0..4u8 {
            let picture = Picture { width: 8, height: 8, pixels: vec![40 * i + class.as_bytes()[0]; 192] };
            let name = [&[b'0' + i, 0xe9][..], b".png"].concat();
            fs::write(data.join(class).join(OsStr::from_bytes(&name)), picture.to_png().unwrap()).unwrap();
        }
    }
    let output = call(&["data".as_ref(), "check".as_ref(), data.as_ref()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with(r"caf\xe9 (folder): 8 images"));
}

#[test]
fn a_spreadsheet_computes_no_name() {
    let (model, room) = (Model::new(), tempfile::tempdir().unwrap());
    for name in ["=1+1", "@sum"] {
        fs::create_dir(room.path().join(name)).unwrap();
        for file in ["model.plan", "model.onnx"] {
            fs::copy(model.file(file), room.path().join(name).join(file)).unwrap();
        }
    }
    let mut command = ocellus();
    command.current_dir(room.path()).args(["compare", "=1+1", "@sum", "--images", "2", "--csv", "table.csv"]);
    assert!(command.output().unwrap().status.success());
    let table = fs::read_to_string(room.path().join("table.csv")).unwrap();
    assert!(table.contains("\n'=1+1,") && table.contains("\n'@sum,"), "{table}");
}

#[test]
fn a_plan_whose_labels_a_terminal_obeys_is_refused() {
    let room = tempfile::tempdir().unwrap();
    let plan = room.path().join("evil.plan");
    let mut bytes = crate::model::random_plan();
    let text = ocellus_shared::plan::Plan::parse(&bytes).unwrap().label(0).unwrap().to_owned();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at] = 0x1b;
    ocellus_shared::plan::encode::reseal(&mut bytes);
    fs::write(&plan, bytes).unwrap();
    let refused = run(&["analyze", plan.to_str().unwrap()]);
    refused.fails(1, &[]);
    assert!(!refused.stderr.contains('\x1b') && !refused.stdout.contains('\x1b'), "{}", refused.stderr);
    assert!(Path::new(&plan).exists());
}
