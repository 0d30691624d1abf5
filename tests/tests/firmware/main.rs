//! The firmware in QEMU in a farm with real agents and a real server, judged by what the readers of all of
//! them saw. `DOWNBEAT_FIRMWARE` names the firmware; where it isn't set, nothing is run and each test says
//! so (`.ci/run firmware` builds it, sets it, and runs them).

mod cut_off;
mod damaged;
mod late;
mod play;
mod together;
mod too_large;
