//! `ocellus serve`: a web page for people and an API for programs, about the models, runs and pictures of given folders.
//!
//! A request goes one way. `server`, the only file that knows hyper and tokio, reads it within bounds of size and time;
//! `guard` decides whether whoever sent it may ask; `routes` finds the function that answers it, which is an ordinary
//! blocking one from `message::Request` to `message::Reply`. What outlives a request is in `site::Site`.
//!
//! What a request names is looked up among what is there, and never made part of a path: nothing outside of the given
//! folders is read or written.

mod albums;
mod api;
mod assets;
mod board;
mod evaluation;
mod guard;
mod inspect;
mod jobs;
mod library;
mod live;
mod message;
mod occlusion;
mod openapi;
mod pages;
mod process;
mod routes;
mod runs;
mod server;
mod shelf;
mod site;
mod task;
mod text;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use ocellus_shared::Shape;

use crate::data::Dataset;
use crate::probe::Settings;
use crate::recipe::DataRecipe;
use guard::Access;
use site::Site;

/// The port where none is asked for, and how many behind it are tried.
const USUAL_PORT: u16 = 8080;
const PORTS: u16 = 100;

/// Finds the images to judge a model with: by its recipe, the folder that was named, its input and its classes.
pub type FindDataset = fn(&DataRecipe, Option<&Path>, Shape, &[String]) -> Result<Dataset>;

/// What is served, and where.
pub struct Options {
    /// Models and runs, or folders of them.
    pub models: Vec<PathBuf>,
    /// Folder of the runs, where new ones are written.
    pub runs: PathBuf,
    /// Folder of the photos that a page takes, one folder per class.
    pub photos: PathBuf,
    /// Dataset; by default each model's own.
    pub data: Option<PathBuf>,
    /// How to find it.
    pub find_dataset: FindDataset,
    /// Emulated board.
    pub board: String,
    /// How to reach a real board.
    pub probe: Settings,
    /// The real board's program, where it is not to be built.
    pub elf: Option<PathBuf>,
    /// Address to listen on. On any but this machine's own, a token is asked for.
    pub host: IpAddr,
    /// Port; by default 8080, or the next that is free.
    pub port: Option<u16>,
}

/// Serves until `stop` is set. `announce` hears the address to open, once it answers.
///
/// # Errors
/// The address cannot be listened on.
pub fn run(options: Options, stop: &AtomicBool, announce: &dyn Fn(&str) -> Result<()>) -> Result<()> {
    let listener = listen(options.host, options.port)?;
    let address = listener.local_addr().context("cannot tell the port")?;
    let access = Access::new(address)?;
    let url = access.url();
    let site = Arc::new(Site::new(options, access));
    announce(&url)?;
    server::serve(listener, &site, stop)?;
    site.end();
    Ok(())
}

/// Listens on `port`, or on the first free one from the usual one on.
fn listen(host: IpAddr, port: Option<u16>) -> Result<TcpListener> {
    if let Some(port) = port {
        return TcpListener::bind(SocketAddr::new(host, port))
            .with_context(|| format!("cannot listen on {host}, port {port}: choose another --port"));
    }
    let free = (USUAL_PORT..USUAL_PORT + PORTS).find_map(|port| TcpListener::bind(SocketAddr::new(host, port)).ok());
    free.with_context(|| {
        let local = if host == IpAddr::from(Ipv4Addr::LOCALHOST) { "" } else { ", or is not of this machine" };
        format!("{host} has no free port from {USUAL_PORT} on{local}: choose one with --port")
    })
}
