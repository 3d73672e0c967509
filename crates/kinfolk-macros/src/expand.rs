//! From an `impl` block to the proxy and the server's side.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, format_ident, quote};
use syn::{Error, ImplItem, ImplItemFn, ItemImpl, Result, ReturnType, Type};

use crate::check;
use crate::method::{self, Arguments};

/// Expands the attribute.
pub(crate) fn managed(arguments: TokenStream, block: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[managed]` takes no arguments"));
    }
    let block: ItemImpl = syn::parse2(block).map_err(|error| {
        Error::new(error.span(), "`#[managed]` stands before the `impl` block of a type")
    })?;
    let name = check::block(&block)?;
    let functions = || {
        block.items.iter().filter_map(|item| match item {
            ImplItem::Fn(function) => Some(function),
            _ => None,
        })
    };
    let mut wrong: Option<Error> = None;
    for function in functions() {
        let checked = check::function(function).and_then(|()| Arguments::of(function).map(drop));
        match (checked, &mut wrong) {
            (Err(error), Some(wrong)) => wrong.combine(error),
            (Err(error), None) => wrong = Some(error),
            (Ok(()), _) => {}
        }
    }
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    // One for each of several conditions, else at most one.
    let new: Vec<_> = functions().filter(|function| function.sig.ident == "new").collect();
    let methods: Vec<_> =
        (0_u32..).zip(functions().filter(|function| function.sig.ident != "new")).collect();
    let create: Vec<_> = new.iter().map(|new| create(name, new)).collect::<Result<_>>()?;
    let proxy = proxy(name, &methods)?;
    let server = server(name, &new, &methods)?;
    Ok(quote!(#[allow(unreachable_pub)] #block #(#create)* #server #proxy))
}

/// How objects are made.
fn create(name: &syn::Ident, new: &ImplItemFn) -> Result<TokenStream> {
    let Arguments { names, types, passed, .. } = Arguments::of(new)?;
    let (pattern, travels) = match (&names[..], &types[..]) {
        ([name], [type_]) => (quote!(#name), quote!(#type_)),
        _ => (quote!((#(#names,)*)), quote!((#(#types,)*))),
    };
    let made = quote!(Self::new(#(#passed),*));
    let made = if is_result(&new.sig.output) {
        quote!(#made.map_err(::kinfolk::manager::not_made))
    } else {
        quote!(::std::result::Result::Ok(#made))
    };
    let conditions = method::conditions(&new.attrs);
    Ok(quote! {
        #(#conditions)*
        impl ::kinfolk::manager::Create for #name {
            type Arguments = #travels;

            fn create(#pattern: Self::Arguments) -> ::kinfolk::Result<Self> {
                #made
            }
        }
    })
}

/// Whether a function returns a `Result`.
fn is_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, type_) = output else { return false };
    matches!(&**type_, Type::Path(path)
        if path.path.segments.last().is_some_and(|segment| segment.ident == "Result"))
}

/// The server's side.
fn server(
    name: &syn::Ident,
    new: &[&ImplItemFn],
    methods: &[(u32, &ImplItemFn)],
) -> Result<TokenStream> {
    let proxy = format_ident!("{name}Proxy");
    let text = name.to_string();
    let functions = new.iter().chain(methods.iter().map(|(_, method)| method));
    let fingerprint = fingerprint(&text, functions.copied());
    let [object, call] = ["object", "call"].map(method::own);
    let arms: Vec<_> = methods
        .iter()
        .map(|(number, function)| method::of_server(*number, function))
        .collect::<Result<_>>()?;
    Ok(quote! {
        impl ::kinfolk::manager::Managed for #name {
            const NAME: &'static str = #text;
            const FINGERPRINT: u64 = #fingerprint;
            type Proxy = #proxy;

            fn call(
                #object: &::std::sync::RwLock<Self>,
                #call: &mut ::kinfolk::manager::Call<'_>,
            ) -> ::kinfolk::Result<()> {
                match #call.method()? {
                    #(#arms)*
                    _ => ::std::result::Result::Err(#call.unknown()),
                }
            }
        }
    })
}

/// The proxy.
fn proxy(name: &syn::Ident, methods: &[(u32, &ImplItemFn)]) -> Result<TokenStream> {
    let proxy = format_ident!("{name}Proxy");
    let doc = format!(
        "A proxy of a [`{name}`] in a manager: it has the same methods, and calls them there."
    );
    let methods: Vec<_> = methods
        .iter()
        .map(|(number, function)| method::of_proxy(*number, function))
        .collect::<Result<_>>()?;
    Ok(quote! {
        #[doc = #doc]
        #[derive(::std::clone::Clone, ::std::fmt::Debug)]
        #[allow(unreachable_pub)]
        pub struct #proxy {
            /// The object.
            reference: ::kinfolk::manager::Reference,
        }

        #[allow(dead_code, unreachable_pub)]
        impl #proxy {
            #(#methods)*
        }

        impl ::kinfolk::manager::Proxy for #proxy {
            const CLASS: &'static str = <#name as ::kinfolk::manager::Managed>::NAME;
            const FINGERPRINT: u64 = <#name as ::kinfolk::manager::Managed>::FINGERPRINT;

            fn from_reference(reference: ::kinfolk::manager::Reference) -> Self {
                Self { reference }
            }

            fn reference(&self) -> &::kinfolk::manager::Reference {
                &self.reference
            }
        }

        impl ::kinfolk::manager::serde::Serialize for #proxy {
            fn serialize<S: ::kinfolk::manager::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                ::kinfolk::manager::serde::Serialize::serialize(&self.reference, serializer)
            }
        }

        impl<'de> ::kinfolk::manager::serde::Deserialize<'de> for #proxy {
            fn deserialize<D: ::kinfolk::manager::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                ::kinfolk::manager::deserialize(deserializer)
            }
        }
    })
}

/// A number that differs when names, order or signatures do (FNV-1a, 64 bits).
fn fingerprint<'a>(name: &str, functions: impl Iterator<Item = &'a ImplItemFn>) -> u64 {
    let signatures = functions.map(|function| function.sig.to_token_stream().to_string());
    let text = std::iter::once(name.to_owned()).chain(signatures);
    let bytes = text.flat_map(|text| (text + "\n").into_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
