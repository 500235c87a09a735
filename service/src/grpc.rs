//! Server reflection, in both versions that clients ask for.

use tonic_reflection::server::{Builder, Error};

/// Reflection v1 of the services described, the health service included.
///
/// # Errors
/// When the descriptors are malformed, which a test of the generated code rules out.
pub fn reflection_v1(
    descriptors: &'static [u8],
) -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
    Error,
> {
    builder(descriptors).build_v1()
}

/// Reflection v1alpha of the same: what Python's client still asks for.
///
/// # Errors
/// When the descriptors are malformed, which a test of the generated code rules out.
pub fn reflection_v1alpha(
    descriptors: &'static [u8],
) -> Result<
    tonic_reflection::server::v1alpha::ServerReflectionServer<
        impl tonic_reflection::server::v1alpha::ServerReflection,
    >,
    Error,
> {
    builder(descriptors).build_v1alpha()
}

fn builder(descriptors: &'static [u8]) -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
