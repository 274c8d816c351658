use super::names::Scheme;
use super::*;
use crate::net;
use crate::net::module::Module;
use crate::recipe::{Head, Recipe};
use ocellus_shared::Shape;
use safetensors::tensor::{Dtype, TensorView};

fn module(model: Model, head: Head, classes: usize) -> Module {
    let mut recipe = Recipe { model, ..Recipe::default() };
    recipe.net.head = head;
    Module::new(net::build(&recipe, Shape::new(32, 32, 3), classes).unwrap()).unwrap()
}

/// Weights as a file with the names of `scheme` has them.
fn foreign(module: &Module, model: Model, scheme: usize) -> Weights {
    let scheme = &Scheme::known(model)[scheme];
    module.initial(3).into_iter().map(|(name, array)| (scheme.foreign(&name), array)).collect()
}

fn error(tensors: &Weights, module: &Module) -> String {
    format!("{:#}", assign(tensors, Target::whole(Model::EfficientNetLite0, module.parameters())).unwrap_err())
}

#[test]
fn every_scheme_fills_every_parameter() {
    let module = module(Model::EfficientNetLite0, Head::Linear, 10);
    for scheme in 0..4 {
        let mut tensors = foreign(&module, Model::EfficientNetLite0, scheme);
        tensors.insert("bn1.num_batches_tracked".into(), Array { shape: vec![], values: vec![7.0] });
        let found = assign(&tensors, Target::whole(Model::EfficientNetLite0, module.parameters())).unwrap();
        assert_eq!(found.weights, module.initial(3));
        assert_eq!(found.scheme, Scheme::known(Model::EfficientNetLite0)[scheme].name);
        assert!(found.fresh.is_empty() && found.notes.is_empty());
    }
}

#[test]
fn a_truncated_network_takes_its_part_of_the_whole_ones_weights() {
    let (model, input) = (Model::EfficientNetLite0, Shape::new(32, 32, 3));
    let whole = module(model, Head::Linear, 10);
    let mut recipe = Recipe { model, ..Recipe::default() };
    recipe.net.truncate = 3;
    let cut = Module::new(net::build(&recipe, input, 10).unwrap()).unwrap();
    let cut_off = net::cut_off(&recipe, input, 10).unwrap();
    let target = Target { model, parameters: cut.parameters(), cut_off: &cut_off };
    let deeper =
        ["blocks.9.0.conv_dw.weight", "features.31.0.weight", "_blocks.40._bn0.bias", "block40.project.weight"];
    for (scheme, deeper) in deeper.into_iter().enumerate() {
        let mut tensors = foreign(&whole, model, scheme);
        tensors = tensors.into_iter().map(|(name, array)| (format!("module.{name}"), array)).collect();
        let found = assign(&tensors, target).unwrap();
        assert_eq!(found.fresh, ["head.weight"], "24 channels instead of 1280");
        let expected = whole.initial(3);
        assert!(found.weights.iter().all(|(name, array)| *array == expected[name]));
        assert_eq!(found.weights.len() + 1, cut.parameters().len());
        let note = found.notes.iter().find(|note| note.contains("net.truncate")).unwrap();
        assert!(note.contains("more") && found.notes.len() == 2, "{:?}", found.notes);
        // What the whole network does not have either is of another one.
        tensors.insert(format!("module.{deeper}"), Array { shape: vec![1], values: vec![0.0] });
        assert!(format!("{:#}", assign(&tensors, target).unwrap_err()).contains("left over"), "{scheme}");
    }
    // The other way round there is too little.
    assert!(error(&cut.initial(3), &whole).contains("of another network than efficientnet-lite0"));
}

#[test]
fn what_pytorch_wraps_around_a_network_is_taken_off() {
    let module = module(Model::EfficientNetLite0, Head::Linear, 10);
    for prefix in ["module.", "_orig_mod.", "module._orig_mod.", "model.", "timm_model.", "backbone.", "net.", "a.b.c."]
    {
        let tensors = foreign(&module, Model::EfficientNetLite0, 0);
        let mut tensors: Weights =
            tensors.into_iter().map(|(name, array)| (format!("{prefix}{name}"), array)).collect();
        tensors.insert("n_averaged".into(), Array { shape: vec![], values: vec![3.0] });
        let found = assign(&tensors, Target::whole(Model::EfficientNetLite0, module.parameters())).unwrap();
        assert_eq!((found.weights, found.scheme), (module.initial(3), "timm"), "{prefix}");
        assert_eq!(found.notes, [""; 0]);
        // What the trainer has beside its network is passed over and said so.
        tensors.insert("loss.weight".into(), Array { shape: vec![1], values: vec![0.0] });
        let found = assign(&tensors, Target::whole(Model::EfficientNetLite0, module.parameters())).unwrap();
        assert_eq!(found.weights, module.initial(3));
        assert_eq!(found.notes, ["passed over what is no part of the network: loss.weight"]);
        // What lacks is named as the file would have it.
        tensors.remove(&format!("{prefix}conv_stem.weight"));
        assert!(error(&tensors, &module).contains(&format!("missing: {prefix}conv_stem.weight")), "{prefix}");
    }
}

#[test]
fn tensors_that_no_network_has_may_be_of_any_type() {
    let module = module(Model::ResNet8, Head::Linear, 2);
    let weights = module.initial(3);
    let file = checkpoint(&weights, &["cat", "dog"], 32);
    let with = |name: &str, len: usize| {
        let bytes = std::fs::read(file.path()).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let zeros = vec![0; len];
        let view = TensorView::new(Dtype::U8, vec![len], &zeros).unwrap();
        let views = tensors.iter().map(|(name, view)| (name.to_owned(), view));
        let views = views.filter(|(other, _)| other != name).chain([(name.to_owned(), view)]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), safetensors::serialize(views, None).unwrap()).unwrap();
        load(file.path(), Target::whole(Model::ResNet8, module.parameters()), &[])
    };
    let found = with("quantizer.zero_point", 1).unwrap();
    assert_eq!(found.weights, weights);
    assert!(found.notes[0].contains("quantizer.zero_point"), "{:?}", found.notes);
    let message = format!("{:#}", with("stem.bias", 16).unwrap_err());
    assert!(message.contains("stem.bias: has the type U8"), "{message}");
}

#[test]
fn how_the_networks_of_others_are_built_is_told_where_the_recipe_differs() {
    let of = |model, scheme: &str| {
        let module = module(model, Head::Linear, 10);
        let place = Scheme::known(model).iter().position(|known| known.name == scheme).unwrap();
        let found = assign(&foreign(&module, model, place), Target::whole(model, module.parameters())).unwrap();
        assert_eq!(found.scheme, scheme);
        found
    };
    let net = |padding: Padding, bn_epsilon| {
        let mut recipe = Recipe { model: Model::EfficientNetB0, ..Recipe::default() };
        (recipe.net.padding, recipe.net.bn_epsilon) = (Some(padding), bn_epsilon);
        recipe
    };
    let torchvision = of(Model::EfficientNetB0, "torchvision");
    for other in [net(Padding::Same, None), net(Padding::Symmetric, None), net(Padding::Same, Some(1e-5))] {
        let message = torchvision.differs_from(&other).unwrap();
        assert!(message.contains("--set net.padding=symmetric --set net.bn-epsilon=1e-5"), "{message}");
    }
    assert_eq!(torchvision.differs_from(&net(Padding::Symmetric, Some(1e-5))), None);
    let second = of(Model::EfficientNetV2B1, "torchvision");
    assert_eq!(second.differs_from(&net(Padding::Symmetric, None)), None);
    let original = of(Model::EfficientNetLite0, "efficientnet_pytorch");
    assert_eq!(original.differs_from(&Recipe::default()), None);
    assert!(original.differs_from(&net(Padding::Symmetric, None)).unwrap().contains("net.padding=same"));
    assert_eq!(of(Model::EfficientNetB0, "timm").differs_from(&net(Padding::Symmetric, None)), None);
    // What PyTorch's MobileNets are is what a recipe for one has unless told.
    let mobile = Recipe { model: Model::MobileNetV2W100, ..Recipe::default() };
    let torchvision = of(mobile.model, "torchvision");
    assert_eq!(torchvision.differs_from(&mobile), None);
    let keras = mobile.with(&["net.padding=same".into(), "net.bn-epsilon=1e-3".into()]).unwrap();
    assert!(torchvision.differs_from(&keras).unwrap().contains("net.padding=symmetric"));
}

#[test]
fn what_is_no_file_of_weights_is_said() {
    let message = |bytes: &[u8]| format!("{:#}", Parsed::of(bytes).err().unwrap());
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 18826032\n";
    for (bytes, words) in [
        (&pointer[..], "Git LFS pointer to 18826032 bytes"),
        (b"<!DOCTYPE html><html>", "a page of a web site"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x80\x04\x95", "torch.save"),
        (b"\x08\x07\x12", "--backbone"),
        (b"", "neither a safetensors file nor one that torch.save wrote"),
    ] {
        assert!(message(bytes).contains(words), "{}", message(bytes));
    }
}

#[test]
fn another_classifier_is_left_out_and_said_so() {
    let thousand = module(Model::EfficientNetLite0, Head::Linear, 1000);
    let tensors = foreign(&thousand, Model::EfficientNetLite0, 0);
    for (head, fresh) in [(Head::Linear, 2), (Head::Mlp, 6)] {
        let ten = module(Model::EfficientNetLite0, head, 10);
        let found = assign(&tensors, Target::whole(Model::EfficientNetLite0, ten.parameters())).unwrap();
        assert_eq!(found.fresh.len(), fresh, "{:?}", found.fresh);
        assert_eq!(found.weights.len(), ten.parameters().len() - fresh);
        assert!(found.notes[0].contains("head.weight"), "{:?}", found.notes);
    }
    // A file without any, as a backbone has it.
    let ten = module(Model::EfficientNetLite0, Head::Linear, 10);
    let mut tensors = tensors;
    tensors.retain(|name, _| !name.starts_with("classifier"));
    assert_eq!(
        assign(&tensors, Target::whole(Model::EfficientNetLite0, ten.parameters())).unwrap().fresh,
        ["head.weight", "head.bias"]
    );
}

#[test]
fn what_does_not_fit_is_listed() {
    let module = module(Model::EfficientNetLite0, Head::Linear, 10);
    let tensors = foreign(&module, Model::EfficientNetLite0, 0);
    let mut without = tensors.clone();
    without.remove("blocks.1.0.conv_dw.weight");
    assert!(error(&without, &module).contains("missing: blocks.1.0.conv_dw.weight"));
    let mut more = tensors.clone();
    more.insert("blocks.9.0.conv_dw.weight".into(), tensors["bn1.bias"].clone());
    assert!(error(&more, &module).contains("left over: blocks.9.0.conv_dw.weight"));
    let mut misshapen = tensors.clone();
    misshapen.insert("conv_stem.weight".into(), tensors["bn1.bias"].clone());
    assert!(error(&misshapen, &module).contains("conv_stem.weight is [32], not [32, 3, 3, 3]"));
    let mut infinite = tensors.clone();
    infinite.get_mut("bn1.bias").unwrap().values[3] = f32::NAN;
    assert!(error(&infinite, &module).contains("bn1.bias holds a value that is not finite"));
    let other = Weights::from([("layer1.0.conv1.weight".to_owned(), tensors["bn1.bias"].clone())]);
    let message = error(&other, &module);
    assert!(message.contains("another network") && message.contains("layer1.0.conv1.weight"), "{message}");
}

#[test]
fn a_pointwise_convolution_is_a_dense_layer() {
    assert!(is_shaped(&[2, 3, 1, 1], &[2, 3]) && is_shaped(&[2, 3], &[2, 3]));
    for wrong in [&[3, 2, 1, 1][..], &[2, 1, 3, 1], &[6]] {
        assert!(!is_shaped(wrong, &[2, 3]), "{wrong:?}");
    }
}

#[test]
fn floats_of_all_sizes_are_read() {
    // -1.5 in every format.
    let cases: [(Dtype, &[u8]); 4] = [
        (Dtype::F64, &[0, 0, 0, 0, 0, 0, 0xf8, 0xbf]),
        (Dtype::F32, &[0, 0, 0xc0, 0xbf]),
        (Dtype::F16, &[0, 0xbe]),
        (Dtype::BF16, &[0xc0, 0xbf]),
    ];
    let value = |file: &[u8]| Parsed::of(file).and_then(|file| file.tensors()?["x"].values());
    for (dtype, bytes) in cases {
        let view = TensorView::new(dtype, vec![1], bytes).unwrap();
        let file = safetensors::serialize([("x", &view)], None).unwrap();
        assert_eq!(value(&file).unwrap(), [-1.5], "{dtype:?}");
        for len in 0..file.len() {
            assert!(value(&file[..len]).is_err(), "cut to {len} bytes");
        }
    }
    let view = TensorView::new(Dtype::U8, vec![1], &[1]).unwrap();
    let file = safetensors::serialize([("x", &view)], None).unwrap();
    assert!(format!("{:#}", value(&file).unwrap_err()).contains("has the type U8"));
}

#[test]
fn folded_normalisations_are_noticed() {
    let module = module(Model::ResNet8, Head::Linear, 10);
    let mut found = assign(&module.initial(0), Target::whole(Model::ResNet8, module.parameters())).unwrap();
    assert!(found.is_folded(module.parameters()));
    found.weights.get_mut("stem.bn.running_mean").unwrap().values[1] = 0.1;
    assert!(!found.is_folded(module.parameters()));
}

/// A file as a run of our own writes it, of a network that tells `classes` apart in square images of `side` pixels.
fn checkpoint(weights: &Weights, classes: &[&str], side: u16) -> tempfile::NamedTempFile {
    let bytes: Vec<(&String, &Array, Vec<u8>)> =
        weights.iter().map(|(name, a)| (name, a, a.values.iter().flat_map(|v| v.to_le_bytes()).collect())).collect();
    let view = |array: &Array, bytes| TensorView::new(Dtype::F32, array.shape.clone(), bytes).unwrap();
    let views: Vec<_> = bytes.iter().map(|(name, array, bytes)| (name.as_str(), view(array, bytes))).collect();
    let metadata = [
        ("classes".to_owned(), serde_json::to_string(classes).unwrap()),
        ("input".to_owned(), format!("[{side}, {side}]")),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), safetensors::serialize(views, Some(metadata.into())).unwrap()).unwrap();
    file
}

#[test]
fn a_classifier_of_other_names_is_left_out_and_said_so() {
    let names = |names: [&str; 2]| names.map(str::to_owned);
    for (head, kept) in [(Head::Linear, 0), (Head::Mlp, 4)] {
        let module = module(Model::ResNet8, head, 2);
        let weights = module.initial(3);
        let file = checkpoint(&weights, &["cat", "dog"], 32);
        let load =
            |classes| load(file.path(), Target::whole(Model::ResNet8, module.parameters()), &names(classes)).unwrap();
        let same = load(["cat", "dog"]);
        assert_eq!((same.weights, same.fresh, same.notes), (weights.clone(), vec![], vec![]));
        // In another order they are other classes.
        for other in [["cat", "cow"], ["dog", "cat"]] {
            let found = load(other);
            assert_eq!(found.fresh, ["head.bias", "head.weight"], "{other:?}");
            assert!(found.fresh.iter().all(|name| !found.weights.contains_key(name)));
            assert_eq!(found.weights.len(), weights.len() - 2);
            assert_eq!(found.weights.keys().filter(|name| head::contains(name)).count(), kept);
            assert!(found.notes[0].contains("(cat, dog)"), "{:?}", found.notes);
        }
    }
    // Files of others hold no names.
    let module = module(Model::ResNet8, Head::Linear, 2);
    let found = assign(&module.initial(3), Target::whole(Model::ResNet8, module.parameters())).unwrap();
    assert_eq!(found.weights, module.initial(3));
}

#[test]
fn images_of_another_size_are_the_remedy_where_they_matter() {
    let at = |side| {
        let recipe = Recipe { model: Model::Cnn, ..Recipe::default() };
        Module::new(net::build(&recipe, Shape::new(side, side, 3), 2).unwrap()).unwrap()
    };
    let file = checkpoint(&at(16).initial(0), &["cat", "dog"], 16);
    let message = format!("{:#}", load(file.path(), Target::whole(Model::Cnn, at(32).parameters()), &[]).unwrap_err());
    assert!(message.contains("dense1.weight is [256, 512], not [256, 2048]"), "{message}");
    assert!(message.contains("--img-size, 16x16,") && !message.contains("--model"), "{message}");
    // Behind a pooling it does not matter.
    let module = module(Model::EfficientNetLite0, Head::Linear, 10);
    let mut grey = module.initial(0);
    grey.get_mut("stem.weight").unwrap().shape = vec![32, 1, 3, 3];
    let message = error(&grey, &module);
    assert!(message.contains("Choose another file") && !message.contains("--img-size"), "{message}");
}
