//! The model as stateright sees it, and the two ways of searching it: everything, depth first, with
//! a count at the end; and the shortest way to a violation, breadth first.

use crate::actions::Action;
use crate::configuration::Configuration;
use crate::properties::{ALWAYS, SOMETIMES};
use crate::world::World;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A configuration, to be searched.
#[derive(Clone, Debug)]
pub struct Search {
    /// What is searched.
    pub config: Arc<Configuration>,
    /// The one property that is asked for; all where none is named.
    pub only: Option<&'static str>,
}

/// A state, fingerprinted in its canonical form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The world as it is.
    pub world: World,
    config: ConfigurationHandle,
}

#[derive(Clone, Debug)]
struct ConfigurationHandle(Arc<Configuration>);
impl PartialEq for ConfigurationHandle {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for ConfigurationHandle {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.world.canonical(&self.config.0).hash(hasher);
    }
}

impl Model for Search {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let config = ConfigurationHandle(self.config.clone());
        vec![State { world: World::new(&self.config), config }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.world.actions(&self.config));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.world.step(&self.config, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Search>> {
        let mut properties = Vec::new();
        macro_rules! always {
            ($($index:literal)*) => {$(
                if self.only.is_none_or(|only| only == ALWAYS[$index].name) {
                    properties.push(Property::always(ALWAYS[$index].name, |search: &Search, state: &State| {
                        (ALWAYS[$index].holds)(&search.config, &state.world)
                    }));
                }
            )*};
        }
        macro_rules! sometimes {
            ($($index:literal)*) => {$(
                properties.push(Property::sometimes(SOMETIMES[$index].name, |_: &Search, state: &State| {
                    (SOMETIMES[$index].reached)(&state.world)
                }));
            )*};
        }
        always!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        if self.only.is_none() {
            sometimes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
            debug_assert_eq!(
                properties.len(),
                ALWAYS.len() + SOMETIMES.len(),
                "one is not in the lists above"
            );
        }
        properties
    }
}

/// What a whole search found.
pub struct Outcome {
    /// Distinct states.
    pub states: usize,
    /// Steps between them.
    pub transitions: usize,
    /// The longest path.
    pub depth: usize,
    /// Broken properties, each with the steps of one counterexample.
    pub broken: Vec<(&'static str, Vec<Action>)>,
    /// Sometimes-states that were reached.
    pub reached: BTreeSet<&'static str>,
    /// How long it took.
    pub took: Duration,
}

/// Searches every state of a configuration, without any limit but the configuration's own.
pub fn everything(config: &Configuration) -> Outcome {
    if config.is_unbounded() {
        return crate::fixed_point::everything(config);
    }
    let begun = Instant::now();
    let search = Search { config: Arc::new(config.clone()), only: None };
    let checker = search.checker().threads(1).finish_when(HasDiscoveries::AllFailures).spawn_dfs().join();
    let mut broken = Vec::new();
    let mut reached = BTreeSet::new();
    for (name, path) in checker.discoveries() {
        if ALWAYS.iter().any(|always| always.name == name) {
            broken.push((name, path.into_actions()));
        } else {
            reached.insert(name);
        }
    }
    Outcome {
        states: checker.unique_state_count(),
        transitions: checker.state_count(),
        depth: checker.max_depth(),
        broken,
        reached,
        took: begun.elapsed(),
    }
}

/// The shortest way to break one property, if there is one.
pub fn shortest(config: &Configuration, property: &'static str) -> (Option<Vec<Action>>, usize, Duration) {
    let begun = Instant::now();
    let search = Search { config: Arc::new(config.clone()), only: Some(property) };
    let checker = search.checker().threads(1).finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let path = checker.discovery(property).map(|path| path.into_actions());
    (path, checker.unique_state_count(), begun.elapsed())
}
