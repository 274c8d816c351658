//! The real CIFAR-10, where this machine has it: the folder is named by `OCELLUS_CIFAR10`.

use ocellus::data::check::check;
use ocellus::data::load;
use ocellus::recipe::DataRecipe;
use std::env;

#[test]
fn cifar_10_is_read_and_has_no_duplicates() {
    let Some(path) = env::var_os("OCELLUS_CIFAR10") else {
        eprintln!("OCELLUS_CIFAR10 names no folder: the real CIFAR-10 is not tested");
        return;
    };
    let recipe = DataRecipe { path: Some(path.into()), ..DataRecipe::default() };
    let dataset = load(&recipe, &|_, _| ()).unwrap();
    assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (45_000, 5_000, 10_000));
    assert_eq!(dataset.classes[8], "ship");
    for class in 0..10 {
        let count = |labels: &[u16]| labels.iter().filter(|&&label| label == class).count();
        assert_eq!((count(&dataset.val.labels), count(&dataset.test.labels)), (500, 1000), "class {class}");
    }
    let report = check(&recipe, &|_, _| ());
    assert!(report.is_usable() && report.warnings.is_empty(), "{report:?}");
}
