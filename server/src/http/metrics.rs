//! Figures for Prometheus, made when they are asked for: how the newest activation of each farm went, as
//! agents told. The history of them is in `skew`.

use super::Caller;
use super::failure::Failure;
use crate::access::Role;
use crate::farm::Farm;
use crate::shared::Shared;
use crate::skew::Summary;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use downbeat_core::time::ServerTime;
use metrics::{Unit, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::sync::Arc;

const EPOCH: &str = "downbeat_activation_epoch";
const ACTIVATION: &str = "downbeat_activation_timestamp";
const AGENTS: &str = "downbeat_activation_agents";
const DISTANCE: &str = "downbeat_activation_distance";
const SPREAD: &str = "downbeat_activation_spread";
const BOUND: &str = "downbeat_activation_spread_bound";
const ARMED: &str = "downbeat_armed";

/// `GET /metrics`: of the farms that the caller may see.
pub(super) async fn metrics(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<impl IntoResponse, Failure> {
    let all = shared.all_farms();
    let may_see = |farm: &&Arc<Farm>| caller.may(&shared, Role::Viewer, Some(&farm.name)).is_ok();
    let farms: Vec<_> = all.iter().filter(may_see).collect();
    if farms.is_empty() {
        caller.may(&shared, Role::Viewer, None)?;
    }
    let now = shared.time.reading().time;
    let recorder = PrometheusBuilder::new().with_recommended_naming(true).build_recorder();
    with_local_recorder(&recorder, || {
        describe();
        farms.iter().for_each(|farm| tell(farm, now));
    });
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], recorder.handle().render()))
}

fn describe() {
    describe_gauge!(EPOCH, "Epoch of the newest activation that has passed");
    describe_gauge!(ACTIVATION, Unit::Seconds, "Its T, by the server's clock, since 1970");
    describe_gauge!(
        AGENTS,
        "Agents that were there before T, by what they told: switched and those of them late by more than 2 epsilon; \
         refused, stale, fenced; silent, who told nothing. A moment after T most are still silent"
    );
    describe_gauge!(
        DISTANCE,
        Unit::Seconds,
        "Distance of agents' switches from T; quantile 1 is the largest"
    );
    describe_gauge!(SPREAD, Unit::Seconds, "From the first switch to the last");
    describe_gauge!(BOUND, Unit::Seconds, "The true spread is no farther from the told one than this");
    describe_gauge!(
        ARMED,
        Unit::Seconds,
        "From the promotion, or a later hello, until agents held the generation; to be less than the lead"
    );
}

fn tell(farm: &Farm, now: ServerTime) {
    let Some(summary) = farm.skew.passed(now).pop() else { return };
    let Summary { epoch, activation, .. } = summary;
    let name = farm.name.as_str().to_owned();
    gauge!(EPOCH, "farm" => name.clone()).set(epoch as f64);
    gauge!(ACTIVATION, "farm" => name.clone()).set(seconds(activation.as_nanos()));
    let outcomes = [
        ("switched", summary.switched),
        ("late", summary.late),
        ("refused", summary.refused),
        ("stale", summary.stale),
        ("fenced", summary.fenced),
        ("silent", summary.silent),
    ];
    for (outcome, agents) in outcomes {
        gauge!(AGENTS, "farm" => name.clone(), "outcome" => outcome).set(agents as f64);
    }
    let quantiles = [
        (DISTANCE, "0.5", summary.p50_ns),
        (DISTANCE, "0.99", summary.p99_ns),
        (DISTANCE, "1", summary.max_ns),
        (ARMED, "0.5", summary.armed_p50_ns),
        (ARMED, "0.99", summary.armed_p99_ns),
    ];
    for (metric, quantile, nanos) in quantiles {
        if let Some(nanos) = nanos {
            gauge!(metric, "farm" => name.clone(), "quantile" => quantile).set(seconds(nanos));
        }
    }
    for (metric, nanos) in [(SPREAD, summary.spread_ns), (BOUND, summary.bound_ns)] {
        if let Some(nanos) = nanos {
            gauge!(metric, "farm" => name.clone()).set(seconds(nanos));
        }
    }
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}
