//! Parameters in several places of a model: one parameter, one decision.

use std::collections::HashMap;

use burn::module::ParamId;

use super::{Decision, PrepareError, PrepareReport};
use crate::qat::parameters::{Inventory, Parameter};

/// Returns the places of each parameter, in the order of the model.
fn places(inventory: &Inventory) -> HashMap<ParamId, Vec<usize>> {
    let mut places: HashMap<ParamId, Vec<usize>> = HashMap::new();
    for (i, parameter) in inventory.parameters.iter().enumerate() {
        places.entry(parameter.id).or_default().push(i);
    }
    places.retain(|_, places| places.len() > 1);
    places
}

/// Sets one decision for all places of a parameter: reparameterizations are found by ids.
pub(super) fn join(inventory: &Inventory, report: &mut PrepareReport) {
    // A place outside of a group follows one in it; apart from that, one that stays in float decides.
    let rank = |decision| match decision {
        Decision::NotSelected => 0,
        Decision::Quantized => 1,
        // It does not apply to other layers that hold the parameter.
        Decision::QuantizedByLayer => -1,
        _ => 2,
    };
    for places in places(inventory).into_values() {
        let path = |i: usize| inventory.parameters[i].path.clone();
        let of = |i: &usize| rank(report.parameters[*i].decision);
        // The first of the highest rank.
        let decisive = places.iter().rev().max_by_key(|i| of(i)).copied();
        let decisive = decisive.unwrap_or(places[0]);
        let (decision, decisive_path) = (report.parameters[decisive].decision, path(decisive));
        for &i in &places {
            let others = places.iter().filter(|&&other| other != i);
            let own = &mut report.parameters[i];
            own.shared_with = others.map(|&other| path(other)).collect();
            if own.decision != decision && own.decision != Decision::QuantizedByLayer {
                own.decision = decision;
                own.reason = format!("shared with {decisive_path}");
            }
        }
    }
}

/// Checks that the places of a parameter that is quantized can have one quantizer.
pub(super) fn check<Q: PartialEq>(
    inventory: &Inventory,
    report: &PrepareReport,
    quantizer: impl Fn(&Parameter) -> Q,
) -> Result<(), PrepareError> {
    let decision = |i: usize| report.parameters[i].decision;
    let mut different: Vec<Vec<usize>> = places(inventory).into_values().collect();
    different.retain(|places| {
        if !places.iter().any(|&i| decision(i) == Decision::Quantized) {
            return false;
        }
        let first = quantizer(&inventory.parameters[places[0]]);
        let same = |&i: &usize| {
            decision(i) == Decision::Quantized && quantizer(&inventory.parameters[i]) == first
        };
        !places.iter().all(same)
    });
    match different.iter().min_by_key(|places| places[0]) {
        Some(places) => Err(PrepareError::Shared {
            paths: (places.iter())
                .map(|&i| inventory.parameters[i].path.clone())
                .collect(),
        }),
        None => Ok(()),
    }
}
