//! Mounts of a task.

use super::container::{driver_from_api, driver_to_api};
use super::{ConvertError, word_error};
use crate::engine_api::container as api;
use crate::object::container::{BindOptions, Mount, MountKind, TmpfsOptions, VolumeOptions};

const PROPAGATIONS: [&str; 7] = ["", "rprivate", "private", "rshared", "shared", "rslave", "slave"];

pub(super) fn mount_to_api(mount: &Mount) -> api::Mount {
    let Mount { kind, source, target, read_only, consistency, bind, volume, tmpfs, image_subpath } =
        mount.clone();
    api::Mount {
        kind: kind.to_string(),
        source,
        target,
        read_only,
        consistency,
        bind_options: bind.map(|bind| api::BindOptions {
            propagation: bind.propagation,
            non_recursive: bind.non_recursive,
            create_mountpoint: bind.create_mountpoint,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force_recursive: bind.read_only_force_recursive,
        }),
        volume_options: volume.map(|volume| api::VolumeOptions {
            no_copy: volume.no_copy,
            labels: volume.labels,
            subpath: volume.subpath,
            driver_config: volume.driver.as_ref().map(driver_to_api),
        }),
        image_options: image_subpath.map(|subpath| api::ImageOptions { subpath }),
        tmpfs_options: tmpfs.map(|tmpfs| api::TmpfsOptions {
            size_bytes: tmpfs.size_bytes,
            mode: tmpfs.mode,
            options: tmpfs.options,
        }),
    }
}

pub(super) fn mount_from_api(mount: api::Mount) -> Result<Mount, ConvertError> {
    let bind = mount.bind_options;
    if let Some(bind) = &bind
        && !PROPAGATIONS.contains(&bind.propagation.as_str())
    {
        return Err(word_error("MountPropagation", &bind.propagation));
    }
    Ok(Mount {
        // Docker's first kind is what an unnamed one is.
        kind: match mount.kind.to_ascii_lowercase().as_str() {
            "" => MountKind::Bind,
            kind => kind.parse().map_err(|_| word_error("MountType", &mount.kind))?,
        },
        source: mount.source,
        target: mount.target,
        read_only: mount.read_only,
        consistency: mount.consistency,
        bind: bind.map(|bind| BindOptions {
            propagation: bind.propagation,
            non_recursive: bind.non_recursive,
            create_mountpoint: bind.create_mountpoint,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force_recursive: bind.read_only_force_recursive,
        }),
        volume: mount.volume_options.map(|volume| VolumeOptions {
            no_copy: volume.no_copy,
            labels: volume.labels,
            driver: volume.driver_config.map(driver_from_api),
            subpath: volume.subpath,
        }),
        tmpfs: mount.tmpfs_options.map(|tmpfs| TmpfsOptions {
            size_bytes: tmpfs.size_bytes,
            mode: tmpfs.mode,
            options: tmpfs.options,
        }),
        image_subpath: mount.image_options.map(|image| image.subpath),
    })
}
