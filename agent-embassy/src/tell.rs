//! What happens, told to `log` and `defmt` where those features are on.

use downbeat_core::effect::Event;

/// Tells what core's machine says has happened.
pub(crate) fn event(event: &Event) {
    #[cfg(feature = "log")]
    log::info!(target: "downbeat", "{event:?}");
    #[cfg(feature = "defmt")]
    defmt::info!("downbeat: {}", defmt::Debug2Format(event));
    let _ = event;
}

/// Tells something that can't go on as it was meant to.
pub(crate) fn warning(text: &'static str) {
    #[cfg(feature = "log")]
    log::warn!(target: "downbeat", "{text}");
    #[cfg(feature = "defmt")]
    defmt::warn!("downbeat: {=str}", text);
    let _ = text;
}
