//! The checkers as a command.
use downbeat_core::serving::Mode;
use downbeat_models::configuration::*;
fn main() {
    let mut base = Configuration::new("two", &[Mode::Strict, Mode::Prompt]);
    base.operations = 1;
    base.operation_kinds = Kinds::of(&[Kind::Edit]);
    base.kinds = Kinds::of(&[Kind::Lose, Kind::Repeat, Kind::Delay, Kind::CrashKeepsDisk]);
    base.faults = std::env::args().nth(1).map_or(0, |n| n.parse().unwrap());
    let out = downbeat_models::search::everything(&base);
    println!("{} states depth {} {:?}", out.states, out.depth, out.took);
    for (name, path) in &out.broken {
        println!("BROKEN {name} in {}", path.len());
        let mut w = downbeat_models::world::World::new(&base);
        for a in path { w.step(&base, *a); println!("  {} {a:?}", w.now); }
        println!("{:#?}", w.record);
    }
    println!("{:?}", out.reached);
}
