//! Real pretrained weights: timm's `tf_efficientnet_lite0`.

use crate::{Optional, named_by};
use ocellus::net;
use ocellus::net::module::Module;
use ocellus::recipe::{Model, Recipe};
use ocellus::weights;
use ocellus_shared::Shape;

const FILE: &str = "OCELLUS_LITE0";

pub fn test() -> Optional {
    Optional {
        name: "lite0::pretrained_weights_fit",
        needs: "a file of timm's tf_efficientnet_lite0 in OCELLUS_LITE0",
        is_there: named_by(FILE).is_some(),
        run: pretrained_weights_fit,
    }
}

fn pretrained_weights_fit() {
    let file = named_by(FILE).expect("OCELLUS_LITE0 names a file");
    let recipe = Recipe { model: Model::EfficientNetLite0, ..Recipe::default() };
    let module = Module::new(net::build(&recipe, Shape::new(96, 96, 3), 10).unwrap()).unwrap();
    let found = weights::load(&file, weights::Target::whole(recipe.model, module.parameters()), &[]).unwrap();
    assert_eq!((found.scheme, found.fresh.as_slice()), ("timm", &["head.weight".to_owned(), "head.bias".into()][..]));
    assert!(found.is_folded(module.parameters()));
    // Of another network: what is missing is listed.
    let b0 = Recipe { model: Model::EfficientNetB0, ..Recipe::default() };
    let module = Module::new(net::build(&b0, Shape::new(96, 96, 3), 10).unwrap()).unwrap();
    let message =
        format!("{:#}", weights::load(&file, weights::Target::whole(b0.model, module.parameters()), &[]).unwrap_err());
    assert!(message.contains("missing: blocks.0.0.se.conv_expand.bias"), "{message}");
}
