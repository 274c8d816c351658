//! `ocellus model import` from the outside: a network of another program becomes a plan.

use crate::classifier::whole;
use crate::commands::{run_in, works_in};
use crate::onnx::{IMAGE, file};
use ocellus::data::picture::Picture;
use std::fs;

#[test]
fn an_imported_network_is_fine_tuned_and_exported() {
    let room = tempfile::tempdir().unwrap();
    let (nodes, constants) = whole();
    fs::write(room.path().join("net.onnx"), file(&IMAGE, nodes, constants)).unwrap();
    let program = |arguments: &[&str]| run_in(room.path(), arguments);
    let succeeds = |arguments: &[&str]| works_in(room.path(), arguments);
    let import = ["model", "import", "net.onnx"];
    let told = succeeds(&[&import[..], &["--json"]].concat()).json();
    assert_eq!([&told["classes"], &told["img_size"]], [4, 8]);
    assert_eq!(told["out"], "runs/net");
    // Nothing is written over.
    program(&[&import[..], &["--out", "runs/net"]].concat()).fails(2, &["runs/net holds files already", "--out"]);
    fs::write(room.path().join("labels.txt"), "one\ntwo\n").unwrap();
    let few = program(&[&import[..], &["--labels", "labels.txt", "--out", "other"]].concat());
    few.fails(1, &["net.onnx tells 4 classes apart, there are 2 labels"]);
    assert!(!room.path().join("other").exists());

    for (class, shade) in [("dark", 40), ("light", 160)] {
        let folder = room.path().join("photos").join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..20 {
            let pixels = (0..8 * 8 * 3).map(|i| shade + (i * 7 + number * 13) as u8 % 50).collect();
            let picture = Picture { width: 8, height: 8, pixels };
            fs::write(folder.join(format!("{number}.png")), picture.to_png().unwrap()).unwrap();
        }
    }
    let tuned =
        ["train", "--recipe", "runs/net/recipe.toml", "--pretrained", "runs/net", "--data", "photos", "--epochs", "1"];
    let said = succeeds(&[&tuned[..], &["--lr", "0.001", "--out", "tuned"]].concat()).stderr;
    assert!(said.contains("no head.weight, head.bias of this shape"), "{said}");
    succeeds(&["export", "tuned", "--data", "photos"]);
    let same = succeeds(&["validate", "tuned", "--data", "photos", "--json"]).json();
    assert_eq!(same["scores_different"], 0, "{same}");
}
