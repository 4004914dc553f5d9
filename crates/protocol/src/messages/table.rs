//! The macro that turns a table of fields into a structure that can be written and read. It knows no message.

/// Declares one structure of a message: see the module `messages` for how a row reads.
macro_rules! message {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $(
                $field:ident: $type:ty, $versions:expr
                    $(, null $null:expr)? $(, tag $tag:literal)? $(, default $default:expr)?;
            )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                #[doc = concat!("In versions `", stringify!($versions), "`.")]
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: message!(@default $($default)?),)* }
            }
        }

        impl $crate::wire::Field for $name {
            fn encode(&self, w: &mut $crate::wire::Writer, version: $crate::wire::Version) {
                $(
                    if $crate::wire::is_untagged(&[$($tag)?]) && version.is_in($versions) {
                        $(if !version.is_in($null) { $crate::wire::encode_not_null(&self.$field, w, version) } else)?
                        { $crate::wire::Field::encode(&self.$field, w, version) }
                    }
                )*
                if version.flexible {
                    $crate::wire::TaggedFields::default()
                        $($(.with(
                            $tag,
                            version.is_in($versions).then_some(&self.$field),
                            &Self::default().$field,
                            version,
                        ))?)*
                        .write_to(w);
                }
            }

            fn decode(
                r: &mut $crate::wire::Reader,
                version: $crate::wire::Version,
            ) -> Result<Self, $crate::wire::DecodeError> {
                let mut message = Self::default();
                $(
                    if $crate::wire::is_untagged(&[$($tag)?]) && version.is_in($versions) {
                        $(if !version.is_in($null) {
                            message.$field = $crate::wire::decode_not_null(r, version)
                                .map_err(|error: $crate::wire::DecodeError| error.in_field(stringify!($field)))?;
                        } else)?
                        { message.$field = r.take(stringify!($field), version)?; }
                    }
                )*
                if version.flexible {
                    r.take_tagged_fields(|tag, value| {
                        $($(
                            if tag == $tag && version.is_in($versions) {
                                message.$field = value.take(stringify!($field), version)?;
                                return Ok(());
                            }
                        )?)*
                        $crate::wire::pass_over(tag, value)
                    })?;
                }
                Ok(message)
            }

            fn min_len(version: $crate::wire::Version) -> usize {
                usize::from(version.flexible) $(
                    + if $crate::wire::is_untagged(&[$($tag)?]) && version.is_in($versions) {
                        <$type as $crate::wire::Field>::min_len(version)
                    } else {
                        0
                    }
                )*
            }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(random: &mut $crate::sample::Random, version: $crate::wire::Version) -> Self {
                let mut message = Self::default();
                $(
                    if version.is_in($versions) {
                        message.$field = $crate::sample::Sample::sample(random, version);
                        $(if !version.is_in($null) { $crate::sample::forbid_null(&mut message.$field); })?
                    }
                )*
                message
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}
