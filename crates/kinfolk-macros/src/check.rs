//! What an `impl` block must be so that its methods can be called from other processes.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, ImplItemFn, ItemImpl, Pat, Result, ReturnType, Type, Visibility};

/// Checks the block itself, and returns the name of its type.
pub(crate) fn block(block: &ItemImpl) -> Result<&syn::Ident> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(
            path,
            "a proxy has the methods of an inherent `impl` block, not those of a trait",
        ));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &block.generics,
            "a manager makes objects of types without parameters: put a concrete type around this \
             one",
        ));
    }
    match &*block.self_ty {
        Type::Path(path) if path.qself.is_none() => match path.path.get_ident() {
            Some(name) => Ok(name),
            None => Err(no_name(&block.self_ty)),
        },
        other => Err(no_name(other)),
    }
}

/// The proxy's name follows from the type's.
fn no_name(type_: &Type) -> Error {
    Error::new_spanned(
        type_,
        "the proxy is named after the type: write the name of a type of this module, without a \
         path or parameters",
    )
}

/// Checks the signature of a function of the block.
pub(crate) fn function(function: &ImplItemFn) -> Result<()> {
    let signature = &function.sig;
    if matches!(function.vis, Visibility::Inherited) {
        return Err(Error::new_spanned(
            &signature.ident,
            "what other processes call must be `pub`: make it so, or move it to an `impl` block \
             without `#[managed]`",
        ));
    }
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(
            token,
            "a method of a managed object runs on a thread of the manager, which has no runtime \
             for `async`: make it a plain `fn`; slow ones do not hold up other objects",
        ));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new_spanned(
            token,
            "an `unsafe fn` cannot be called from another process: nobody there can keep its \
             contract",
        ));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(abi, "a method of a managed object is a plain `fn`"));
    }
    if let Some(parameter) = signature.generics.params.first() {
        return Err(Error::new_spanned(
            parameter,
            "a method with parameters of its own cannot be called from another process: what \
             travels must have one concrete type",
        ));
    }
    if signature.ident == "new" {
        return constructor(function);
    }
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            if receiver.reference.is_none() || receiver.colon_token.is_some() {
                return Err(Error::new_spanned(
                    receiver,
                    "the manager keeps its object: take `&self` or `&mut self`",
                ));
            }
        }
        _ => {
            return Err(Error::new_spanned(
                &signature.ident,
                "a function without `self` has no object to call it on; only `new` makes objects: \
                 move it to an `impl` block without `#[managed]`",
            ));
        }
    }
    if let ReturnType::Type(_, type_) = &signature.output {
        travelling(
            type_,
            "a result travels to another process: return a value of its own, such as a \
                      `String` instead of a `&str`",
        )?;
    }
    Ok(())
}

/// Checks the signature of `new`.
fn constructor(function: &ImplItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        return Err(Error::new_spanned(receiver, "`new` makes an object: it takes no `self`"));
    }
    match &signature.output {
        ReturnType::Default => {
            Err(Error::new_spanned(signature, "`new` makes an object: let it return `Self`"))
        }
        ReturnType::Type(_, type_) => {
            owned(type_, "`new` makes an object: let it return `Self`, or a `Result` of it")
        }
    }
}

/// Checks a type that both the object and its proxy have in a signature.
fn travelling(type_: &Type, why: &str) -> Result<()> {
    owned(type_, why)?;
    let is_self = |token: &TokenTree| matches!(token, TokenTree::Ident(name) if name == "Self");
    if any(type_.to_token_stream(), &is_self) {
        return Err(Error::new_spanned(
            type_,
            "`Self` is the object here, and in its proxy's method the proxy: name the type",
        ));
    }
    Ok(())
}

/// Whether a token is among these, or in a group of them.
fn any(tokens: TokenStream, is: &impl Fn(&TokenTree) -> bool) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => any(group.stream(), is),
        token => is(&token),
    })
}

/// Checks that there is no borrow in a type.
fn owned(type_: &Type, why: &str) -> Result<()> {
    if matches!(type_, Type::ImplTrait(_)) {
        return Err(Error::new(
            type_.span(),
            "what travels must have one concrete type: `impl Trait` has none that others know",
        ));
    }
    let borrows = |token: &TokenTree| match token {
        TokenTree::Punct(mark) => matches!(mark.as_char(), '&' | '\''),
        _ => false,
    };
    if any(type_.to_token_stream(), &borrows) {
        return Err(Error::new_spanned(type_, why));
    }
    Ok(())
}

/// An argument: its name, the type that travels, and whether it is lent to the method.
pub(crate) fn argument(argument: &FnArg) -> Result<(syn::Ident, Type, bool)> {
    let FnArg::Typed(argument) = argument else {
        return Err(Error::new_spanned(argument, "`self` is not an argument"));
    };
    let Pat::Ident(pattern) = &*argument.pat else {
        return Err(Error::new_spanned(
            &argument.pat,
            "an argument of the proxy's method is named after this one: give it a plain name",
        ));
    };
    let name = pattern.ident.clone();
    let Type::Reference(reference) = &*argument.ty else {
        travelling(
            &argument.ty,
            "an argument travels to another process: take a value, or `&T`, `&str` or `&[T]`",
        )?;
        return Ok((name, (*argument.ty).clone(), false));
    };
    if reference.mutability.is_some() {
        return Err(Error::new_spanned(
            reference,
            "a change through `&mut` would not come back from another process: take a value and \
             return the changed one",
        ));
    }
    if let Some(lifetime) = &reference.lifetime {
        return Err(Error::new_spanned(
            lifetime,
            "an argument is lent to the method for the call alone: leave the lifetime out",
        ));
    }
    let travels = match &*reference.elem {
        Type::Slice(slice) => {
            let item = &slice.elem;
            syn::parse_quote!(::std::vec::Vec<#item>)
        }
        Type::Path(path) if path.path.is_ident("str") => syn::parse_quote!(::std::string::String),
        other => other.clone(),
    };
    travelling(&reference.elem, "only a whole argument may be lent: `&T`, `&str` or `&[T]`")?;
    Ok((name, travels, true))
}
