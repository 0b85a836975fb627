//! Which process has a port of this machine, as far as this one may see.

use std::fs;
use std::path::Path;

use common::limits::MESH_HOLDER_BYTES_MAX;
use common::object::ports::Protocol;

/// `nginx (process 812)`; none where it cannot be found.
pub fn of(protocol: Protocol, port: u16) -> Option<String> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => &["/proc/net/udp", "/proc/net/udp6"],
        Protocol::Sctp => &[],
    };
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|path| read(Path::new(path)))
        .flat_map(|table| sockets(&table, protocol, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let has = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| wanted.iter().any(|wanted| target.as_os_str() == wanted.as_str()))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pid = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut holders = processes.map(|entry| entry.path()).filter(|path| pid(path).is_some() && has(path));
    let holder = holders.next()?;
    let name = read(&holder.join("comm")).unwrap_or_default();
    Some(format!("{} (process {})", name.trim(), pid(&holder)?))
}

/// The inodes of the sockets on a port: of TCP those that listen.
fn sockets(table: &str, protocol: Protocol, port: u16) -> Vec<u64> {
    let inode = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, local) = local.rsplit_once(':')?;
        let listens = protocol != Protocol::Tcp || state == "0A";
        let is_it = listens && u16::from_str_radix(local, 16).ok()? == port;
        // Queues, timer, retransmissions, user, timeout; then the inode.
        fields.nth(5).filter(|_| is_it)?.parse().ok()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// A file of the kernel, as far as it has a reasonable size.
fn read(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MESH_HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn listeners_are_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000 100 0 0 10 0\n   \
            1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 777 1 0000 20 4 30 10 -1\n   \
            2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0000 100 0 0 10 0\n   \
            damaged\n";
        assert_eq!(sockets(table, Protocol::Tcp, 8080), [12345]);
        assert_eq!(sockets(table, Protocol::Tcp, 22), [99]);
        assert!(sockets(table, Protocol::Tcp, 80).is_empty());
        assert_eq!(sockets(table, Protocol::Udp, 8080), [12345, 777], "which has no state of the kind");
    }

    #[test]
    fn our_own_port_is_ours() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let found = of(Protocol::Tcp, listener.local_addr().unwrap().port()).unwrap();
        assert!(found.ends_with(&format!("(process {})", std::process::id())), "{found}");
    }
}
