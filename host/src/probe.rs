//! Debug probes and the boards behind them: with `probe/` the only place that knows probe-rs.
//!
//! A probe is found ([`list()`], [`Selector`]), a chip attached to ([`Link::attach`]), its flash programmed
//! ([`Link::flash`]), and the rings of its program opened ([`Link::open_channels`]). Whatever goes wrong is told as what,
//! where and the remedy; see `diagnostics`. [`simulated`] is a probe and a board in software, which the whole way can be tried
//! and tested on.

mod channels;
mod diagnostics;
mod flash;
mod link;
pub mod simulated;
mod target;

pub use channels::{Channels, Restarted};
pub use flash::{Image, Phase, Written};
pub use link::{Link, Settings};

use std::str::FromStr;

use anyhow::{Result, bail};
use probe_rs::probe::DebugProbeSelector;
use probe_rs::probe::list::{Accessibility, Lister, ProbeListItem};
use serde::Serialize;
use simulated::Fault;

use crate::board::Board;

/// What to say where there is no probe.
pub const NONE_FOUND: &str = "no debug probe found: plug in an ST-Link, J-Link, CMSIS-DAP or another probe that \
    probe-rs knows, and see that its cable carries data; `ocellus flash --probe simulated` rehearses without one";

/// A probe that is plugged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeInfo {
    /// What `--probe` calls it: `vid:pid:serial`, in hexadecimal but for the serial number.
    pub selector: String,
    /// Its own name.
    pub name: String,
    /// The family of probes that it belongs to.
    pub kind: String,
    /// Whether this user may open it.
    pub usable: bool,
    /// USB vendor id.
    pub vendor_id: u16,
    /// USB product id.
    pub product_id: u16,
}

impl From<&ProbeListItem> for ProbeInfo {
    fn from(item: &ProbeListItem) -> Self {
        Self {
            selector: DebugProbeSelector::from(&item.info).to_string(),
            name: item.info.identifier.clone(),
            kind: item.info.probe_type(),
            usable: item.accessibility == Accessibility::Accessible,
            vendor_id: item.info.vendor_id,
            product_id: item.info.product_id,
        }
    }
}

/// Every probe that is plugged in, also those that this user may not open.
pub fn list() -> Vec<ProbeInfo> {
    found(&Lister::new())
}

/// Every probe that `lister` knows.
fn found(lister: &Lister) -> Vec<ProbeInfo> {
    lister.list_all_with_access().iter().map(ProbeInfo::from).collect()
}

/// How to open the probes among `found` that this user may not open; nothing where there are none.
///
/// A rule for udev gives them to whoever sits at the machine (`uaccess`); its file must be read before systemd's
/// `73-seat-late.rules`, which does so. HID probes (CMSIS-DAP v1) have a node of their own.
pub fn access_fix(found: &[ProbeInfo]) -> Option<String> {
    let mut rules: Vec<String> = found
        .iter()
        .filter(|probe| !probe.usable)
        .flat_map(|ProbeInfo { vendor_id, product_id, .. }| {
            let ids = format!("ATTRS{{idVendor}}==\"{vendor_id:04x}\", ATTRS{{idProduct}}==\"{product_id:04x}\"");
            ["SUBSYSTEM==\"usb\"", "KERNEL==\"hidraw*\""].map(|what| format!("{what}, {ids}, TAG+=\"uaccess\""))
        })
        .collect();
    rules.dedup();
    (!rules.is_empty()).then(|| {
        format!(
            "this user may not open every probe\nfix: sudo tee /etc/udev/rules.d/69-ocellus-probes.rules <<'END'\n{}\nEND\n\
             \x20    sudo udevadm control --reload && sudo udevadm trigger\n\
             \x20    then plug the probe in again",
            rules.join("\n")
        )
    })
}

/// Attaches to `board`, which runs `elf` with `plan`. A simulated one is given both first.
///
/// # Errors
/// As for [`Link::attach`]; and on a simulated board as for [`Link::flash`].
pub fn reach(board: &Board, settings: &Settings, elf: &[u8], plan: &[u8]) -> Result<Link> {
    let Selector::Simulated(fault) = settings.probe else { return Link::attach(board, settings) };
    let bench = simulated::TestBench::of(board, fault)?;
    let mut link = Link::attach_to(&bench, board, settings)?;
    link.flash(&Image { elf: Some(elf), plan }, &mut |_, _, _| {})?;
    bench.run_firmware(board, elf)?;
    Ok(link)
}

/// Which probe to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selector {
    /// The only one.
    #[default]
    Only,
    /// The one with these ids.
    Named(DebugProbeSelector),
    /// One in software, that fails in this way if in any.
    Simulated(Option<Fault>),
}

impl FromStr for Selector {
    type Err = anyhow::Error;

    /// `VID:PID`, `VID:PID:SERIAL`, `simulated` or `simulated:FAULT`.
    fn from_str(text: &str) -> Result<Self> {
        if text == "simulated" {
            return Ok(Self::Simulated(None));
        }
        if let Some(fault) = text.strip_prefix("simulated:") {
            return Ok(Self::Simulated(Some(fault.parse()?)));
        }
        match text.parse() {
            Ok(ids) => Ok(Self::Named(ids)),
            Err(_) => bail!("expected VID:PID or VID:PID:SERIAL as `ocellus probes` prints them, or simulated"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read() {
        let ids: Selector = "0483:374b:0670FF".parse().unwrap();
        assert!(matches!(&ids, Selector::Named(s) if s.to_string() == "0483:374b:0670FF"), "{ids:?}");
        assert_eq!("simulated".parse::<Selector>().unwrap(), Selector::Simulated(None));
        assert_eq!("simulated:locked".parse::<Selector>().unwrap(), Selector::Simulated(Some(Fault::Locked)));
        for bad in ["", "0483", "wxyz:374b", "simulated:moody", "Simulated"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_rule_names_each_probe_that_may_not_be_opened() {
        let probe = |product_id, usable| ProbeInfo {
            selector: String::new(),
            name: String::new(),
            kind: String::new(),
            usable,
            vendor_id: 0x0483,
            product_id,
        };
        assert_eq!(access_fix(&[probe(0x374b, true)]), None);
        let fix = access_fix(&[probe(0x374b, true), probe(0x3748, false), probe(0x3748, false)]).unwrap();
        assert!(fix.contains(r#"SUBSYSTEM=="usb", ATTRS{idVendor}=="0483", ATTRS{idProduct}=="3748""#), "{fix}");
        assert!(!fix.contains("374b"), "{fix}");
    }

    #[test]
    fn a_probe_is_listed_whether_it_may_be_opened_or_not() {
        let listed = |fault| found(&simulated::TestBench::new(fault).lister());
        assert!(listed(Some(Fault::Absent)).is_empty());
        let states =
            [None, Some(Fault::Denied)].map(|fault| listed(fault).iter().map(|p| p.usable).collect::<Vec<_>>());
        assert_eq!(states, [vec![true], vec![false]]);
    }
}
