//! A task's mounts as the engine's.
//!
//! Pure, as `container`. Whether a source exists is the engine's to find out: it may not see what this process sees.

use bollard::models::{
    Mount as EngineMount, MountBindOptions, MountImageOptions, MountTmpfsOptions, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use common::object::container::{BindOptions, Mount, MountKind, TmpfsOptions, VolumeOptions};

use super::container::some_text;
use crate::runtime::RunError;
use crate::runtime::files::FileMount;

/// The mounts of a spec, and those of its secrets and configs.
pub fn mounts(mounts: &[Mount], files: &[FileMount]) -> Result<Vec<EngineMount>, RunError> {
    mounts.iter().map(mount).chain(files.iter().map(|file| Ok(file_mount(file)))).collect()
}

/// Of this kind a mount is refused where the engine does not see what is to be mounted: it is never an empty folder
/// instead.
fn file_mount(file: &FileMount) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(file.source.to_string_lossy().into_owned()),
        target: Some(file.target.clone()),
        read_only: Some(true),
        ..EngineMount::default()
    }
}

fn mount(mount: &Mount) -> Result<EngineMount, RunError> {
    let typ = match mount.kind {
        MountKind::Bind => MountType::BIND,
        MountKind::Volume => MountType::VOLUME,
        MountKind::Tmpfs => MountType::TMPFS,
        MountKind::NamedPipe => MountType::NPIPE,
        MountKind::Image => MountType::IMAGE,
        MountKind::Cluster => {
            let said = format!("mount {}: this node has no cluster volumes", mount.target);
            return Err(RunError::Fatal(said));
        }
    };
    Ok(EngineMount {
        typ: Some(typ),
        source: some_text(&mount.source),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        consistency: some_text(&mount.consistency),
        bind_options: mount.bind.as_ref().map(bind).transpose()?,
        volume_options: mount.volume.as_ref().map(volume),
        tmpfs_options: mount.tmpfs.as_ref().map(tmpfs),
        image_options: mount.image_subpath.clone().map(|path| MountImageOptions { subpath: Some(path) }),
    })
}

/// What is not asked for is not sent: older engines refuse some of it even when it is off.
fn when(asked: bool) -> Option<bool> {
    asked.then_some(true)
}

fn bind(options: &BindOptions) -> Result<MountBindOptions, RunError> {
    let unknown = |_| RunError::Fatal(format!("bind propagation {}: unknown", options.propagation));
    let propagation =
        some_text(&options.propagation).map(|word| word.parse().map_err(unknown)).transpose()?;
    Ok(MountBindOptions {
        propagation,
        non_recursive: when(options.non_recursive),
        create_mountpoint: when(options.create_mountpoint),
        read_only_non_recursive: when(options.read_only_non_recursive),
        read_only_force_recursive: when(options.read_only_force_recursive),
    })
}

fn volume(options: &VolumeOptions) -> MountVolumeOptions {
    MountVolumeOptions {
        no_copy: when(options.no_copy),
        labels: Some(options.labels.clone().into_iter().collect()),
        driver_config: options.driver.as_ref().map(|driver| MountVolumeOptionsDriverConfig {
            name: some_text(&driver.name),
            options: Some(driver.options.clone().into_iter().collect()),
        }),
        subpath: some_text(&options.subpath),
    }
}

fn tmpfs(options: &TmpfsOptions) -> MountTmpfsOptions {
    MountTmpfsOptions {
        size_bytes: (options.size_bytes > 0).then_some(options.size_bytes),
        mode: (options.mode > 0).then(|| options.mode.into()),
        options: (!options.options.is_empty()).then(|| options.options.clone()),
    }
}
