//! How an image is made sure of before it is used.

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Image")]
pub struct ImageFlags {
    /// Hand this user's credentials for the image's registry to the nodes
    #[arg(long)]
    pub with_registry_auth: bool,

    /// Do not ask the registry for the image's digest and platforms
    #[arg(long)]
    pub no_resolve_image: bool,
}

impl ImageFlags {
    /// Is a registry asked for this image?
    pub fn resolves(&self, image: &str) -> bool {
        !self.no_resolve_image && !image.is_empty()
    }
}
