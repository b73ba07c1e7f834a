//! Folders with wrong tensors.

use super::{FOLDERS, Whole};
use crate::support::{
    damage::{WRONG_TENSORS, not_finite, raw_file, raw_tensors},
    values::on_flex,
};

#[test]
fn a_wrong_tensor_is_an_error_that_names_it() {
    if !on_flex() {
        return;
    }
    let mut number = 0;
    for folder in FOLDERS {
        let whole = Whole::open(folder);
        let tensors = raw_tensors(&whole.tensors);
        assert!(
            whole
                .load(Some(&whole.config), Some(&raw_file(&tensors)))
                .is_ok()
        );
        for (at, tensor) in tensors.iter().enumerate() {
            let wrong = WRONG_TENSORS.iter().map(|(what, change)| {
                let mut tensors = tensors.clone();
                change(&mut tensors, at);
                (what.to_string(), raw_file(&tensors))
            });
            let not_finite = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
                .map(|value| (value.to_string(), not_finite(&tensors, at, value)));
            for (what, file) in wrong.chain(not_finite) {
                number += 1;
                let what = format!("{}, {} {what}", whole.name, tensor.name);
                match whole.load(Some(&whole.config), Some(&file)) {
                    Err(message) => {
                        let other = &tensors[(at + 1) % tensors.len()].name;
                        let is_other = what.ends_with("the name of another");
                        let name = if is_other { other } else { &tensor.name };
                        assert!(message.contains(name), "{what}: {message}");
                    }
                    // One tensor alone has no other, and the base weight beside an adapter of an end is that of the
                    // model.
                    Ok(loaded) => {
                        let is_same = tensors.len() == 1 && what.ends_with("the name of another")
                            || what.ends_with("base_layer.weight missing");
                        assert!(is_same, "{what}");
                        assert_eq!(whole.num_changed(&loaded), 0, "{what}");
                    }
                }
            }
        }
    }
    assert!(number >= 1000, "{number}");
}
