//! The real CIFAR-10: how it is read, and what the cards of the committed models say of it.

use crate::{Optional, named_by};
use ocellus::data::check::check;
use ocellus::data::{fetch, load};
use ocellus::eval::Evaluator;
use ocellus::model::ModelFiles;
use ocellus::recipe::DataRecipe;
use std::path::{Path, PathBuf};

pub fn tests() -> [Optional; 2] {
    let test = |name, run| Optional {
        name,
        needs: "CIFAR-10: `ocellus data fetch cifar10`, or its folder in OCELLUS_CIFAR10",
        is_there: folder().is_some(),
        run,
    };
    [
        test("cifar::cifar_10_is_read_and_has_no_duplicates", cifar_10_is_read_and_has_no_duplicates),
        test("cifar::plans_are_as_accurate_as_their_cards_say", plans_are_as_accurate_as_their_cards_say),
    ]
}

fn folder() -> Option<PathBuf> {
    named_by("OCELLUS_CIFAR10").or_else(|| fetch::Source::named("cifar10").ok()?.cached())
}

fn recipe() -> DataRecipe {
    DataRecipe { path: folder(), ..DataRecipe::default() }
}

fn cifar_10_is_read_and_has_no_duplicates() {
    let dataset = load(&recipe(), &|_, _| ()).unwrap();
    assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (45_000, 5_000, 10_000));
    assert_eq!(dataset.classes[8], "ship");
    for class in 0..10 {
        let count = |labels: &[u16]| labels.iter().filter(|&&label| label == class).count();
        assert_eq!((count(&dataset.val.labels), count(&dataset.test.labels)), (500, 1000), "class {class}");
    }
    let report = check(&recipe(), &|_, _| ());
    assert!(report.is_usable() && report.warnings.is_empty(), "{report:?}");
}

fn plans_are_as_accurate_as_their_cards_say() {
    let test = load(&recipe(), &|_, _| ()).unwrap().test;
    for model in ["cnn-cifar10", "resnet8-cifar10", "resnet20-cifar10"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model);
        let plan = ModelFiles::find(&folder).unwrap().read_plan().unwrap();
        let engine = Evaluator::Engine(plan);
        let (_, classes) = engine.signature().unwrap();
        let metrics = engine.scores(&test, &|| ()).unwrap().metrics(&classes, &test.labels);
        let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let row = card.lines().find(|line| line.starts_with("| int8 (tract, engine, boards) |")).unwrap();
        let expected = format!("| {:.2} % |", 100.0 * metrics.accuracy);
        assert!(row.contains(&expected), "{model}: {expected} where its card has {row}");
    }
}
