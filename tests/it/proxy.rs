//! A network between a scaler and its database that can be cut and clogged.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use jobrunr_scaler::config::{Address, StorageConfig};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Every byte arrives.
    Works,
    /// Connections end, and new ones too, at once.
    Cut,
    /// Connections open and stay open, and nothing arrives any more.
    Hangs,
}

/// A proxy before a database.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
}

impl Proxy {
    /// Puts a proxy before the storage's database.
    pub(crate) async fn before(config: &mut StorageConfig) -> Self {
        let server = match &mut config.address {
            Address::Postgres(server) | Address::Mysql(server) => server,
            Address::MongoDb(address) => &mut address.server,
            Address::Sqlite(_) => panic!("SQLite has no network"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = std::mem::replace(&mut server.hosts, vec![(address.ip().to_string(), address.port())]);
        let (network, state) = watch::channel(Network::Works);
        tokio::spawn(accept(listener, upstream[0].clone(), state));
        Self { address, network }
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Where it listens, as errors name it.
    pub(crate) fn place(&self) -> String {
        self.address.to_string()
    }
}

async fn accept(listener: TcpListener, upstream: (String, u16), network: watch::Receiver<Network>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connection(client, upstream.clone(), network.clone()));
    }
}

async fn connection(client: TcpStream, upstream: (String, u16), mut network: watch::Receiver<Network>) {
    if *network.borrow_and_update() == Network::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let (client, server) = (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(client.0, server.1, network.clone()) => {}
        () = copy(server.0, client.1, network.clone()) => {}
        _ = network.wait_for(|network| *network == Network::Cut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut network: watch::Receiver<Network>) {
    let mut buffer = [0; 8192];
    while let Ok(n_bytes @ 1..) = from.read(&mut buffer).await {
        if network.wait_for(|network| *network != Network::Hangs).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..n_bytes]).await.is_err() {
            return;
        }
    }
}
