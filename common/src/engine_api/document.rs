//! JSON documents of Docker's, member by member.
//!
//! Docker's documents follow one rule: a member without content is left out, and one that is left out or `null`
//! has no content. `document!` writes that rule once. Only an object is read as a document, never an array.

/// Declares documents. Members under `always` are written even when they are empty, as Docker does with a few;
/// members under `when_set` are left out then.
macro_rules! document {
    ($(
        $(#[$outer:meta])*
        pub struct $name:ident {
            $(always: $($(#[$kept:meta])* pub $kept_name:ident: $kept_type:ty,)*)?
            $(when_set: $($(#[$set:meta])* pub $set_name:ident: $set_type:ty,)*)?
        }
    )*) => {$(
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(remote = "Self", rename_all = "PascalCase", default)]
        pub struct $name {
            $($(
                $(#[$kept])*
                #[serde(deserialize_with = "crate::engine_api::null_as_default")]
                pub $kept_name: $kept_type,
            )*)?
            $($(
                $(#[$set])*
                #[serde(
                    skip_serializing_if = "crate::engine_api::document::is_empty",
                    deserialize_with = "crate::engine_api::null_as_default"
                )]
                pub $set_name: $set_type,
            )*)?
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // The derived one: with `remote` it is no trait's.
                $name::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;

                impl<'de> serde::de::Visitor<'de> for Members {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<$name, A::Error> {
                        $name::deserialize(serde::de::value::MapAccessDeserializer::new(members))
                    }
                }

                deserializer.deserialize_map(Members)
            }
        }
    )*};
}

pub(super) use document;

pub(super) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use crate::engine_api::service::{Mode, Nothing, Replicated, ServiceSpec};

    /// As Docker's command line sends it.
    const SENT: &str = r#"{"Name":"web2","Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"nginx:latest","Init":false,"DNSConfig":{},"Secrets":[{"File":{"Name":"s1","UID":"0","GID":"0","Mode":292},"SecretID":"a","SecretName":"s1"}]},"Resources":{"Limits":{},"Reservations":{}},"Placement":{"Platforms":[{"Architecture":"amd64","OS":"linux"}]},"Networks":[{"Target":"n"}],"ForceUpdate":0},"Mode":{"Replicated":{}},"EndpointSpec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]}}"#;

    #[test]
    fn a_document_is_written_as_it_was_read() {
        let read: ServiceSpec = serde_json::from_str(SENT).expect("a spec");
        let written: serde_json::Value = serde_json::to_value(&read).expect("JSON");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(SENT).expect("JSON"));
        assert_eq!(read.mode, Mode { replicated: Some(Replicated::default()), ..Mode::default() });
    }

    #[test]
    fn null_is_nothing_and_an_object_without_members_is_something() {
        let read: Mode = serde_json::from_str(r#"{"Replicated":null,"Global":{}}"#).expect("a mode");
        assert_eq!(read, Mode { global: Some(Nothing {}), ..Mode::default() });
        assert_eq!(serde_json::to_string(&read).expect("JSON"), r#"{"Global":{}}"#);
        let read: ServiceSpec =
            serde_json::from_str(r#"{"Name":null,"Labels":null,"TaskTemplate":null,"Mode":null}"#)
                .expect("a spec");
        assert_eq!(read, ServiceSpec::default());
    }

    #[test]
    fn an_array_is_no_document() {
        for text in [r#"["web"]"#, r#"{"Mode":[[3]]}"#, r#"{"TaskTemplate":{"ContainerSpec":["x"]}}"#] {
            let error = serde_json::from_str::<ServiceSpec>(text).expect_err(text).to_string();
            assert!(error.contains("expected an object"), "{error}");
        }
    }
}
