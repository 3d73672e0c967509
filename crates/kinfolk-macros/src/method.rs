//! A method of the block, and what becomes of it on both sides.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, FnArg, Ident, ImplItemFn, Result, ReturnType};

use crate::check;

/// The arguments of a function.
pub(crate) struct Arguments {
    /// As the function declares them.
    pub(crate) declared: Vec<FnArg>,
    /// Their names.
    pub(crate) names: Vec<Ident>,
    /// The types in which they travel.
    pub(crate) types: Vec<syn::Type>,
    /// How the function gets them.
    pub(crate) passed: Vec<TokenStream>,
}

impl Arguments {
    /// Those of a function, without `self`.
    pub(crate) fn of(function: &ImplItemFn) -> Result<Self> {
        let mut arguments =
            Self { declared: Vec::new(), names: Vec::new(), types: Vec::new(), passed: Vec::new() };
        for argument in &function.sig.inputs {
            if matches!(argument, FnArg::Receiver(_)) {
                continue;
            }
            let (name, travels, lent) = check::argument(argument)?;
            let FnArg::Typed(declared) = argument else { continue };
            let type_ = &declared.ty;
            arguments.declared.push(syn::parse_quote!(#name: #type_));
            arguments.passed.push(if lent { quote!(&#name) } else { quote!(#name) });
            arguments.names.push(name);
            arguments.types.push(travels);
        }
        Ok(arguments)
    }
}

/// A name of the macro's own: an argument of the same name is another one.
pub(crate) fn own(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The attributes of a method that its proxy's has too.
fn shared(attributes: &[Attribute]) -> Vec<&Attribute> {
    let shared = ["doc", "cfg", "deprecated"];
    let is_shared =
        |attribute: &&Attribute| shared.iter().any(|name| attribute.path().is_ident(name));
    attributes.iter().filter(is_shared).collect()
}

/// The attributes that say whether there is a method at all.
pub(crate) fn conditions(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
}

/// The proxy's method: it sends the number of the method and its arguments.
pub(crate) fn of_proxy(number: u32, function: &ImplItemFn) -> Result<TokenStream> {
    let Arguments { declared, names, .. } = Arguments::of(function)?;
    let attributes = shared(&function.attrs);
    let documented = attributes.iter().any(|attribute| attribute.path().is_ident("doc"));
    let (vis, name) = (&function.vis, &function.sig.ident);
    let plain = format!("Calls `{name}` of the object.");
    let doc = (!documented).then(|| quote!(#[doc = #plain]));
    let result = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, type_) => quote!(#type_),
    };
    Ok(quote! {
        #doc
        #(#attributes)*
        #[doc = ""]
        #[doc = "# Errors"]
        #[doc = ""]
        #[doc = "If the method panicked, an argument or the result cannot travel, or the manager is gone."]
        #vis fn #name(&self, #(#declared),*) -> ::kinfolk::Result<#result> {
            self.reference.call(#number, &(#(#names,)*))
        }
    })
}

/// The server's side: it decodes the arguments, calls the method and encodes the result.
pub(crate) fn of_server(number: u32, function: &ImplItemFn) -> Result<TokenStream> {
    let Arguments { names, types, passed, .. } = Arguments::of(function)?;
    let conditions = conditions(&function.attrs);
    let name = &function.sig.ident;
    let changes = matches!(
        function.sig.inputs.first(),
        Some(FnArg::Receiver(receiver)) if receiver.mutability.is_some()
    );
    let run = if changes { quote!(change) } else { quote!(look) };
    let [object, call, result] = ["object", "call", "result"].map(own);
    Ok(quote! {
        #(#conditions)*
        #number => {
            let (#(#names,)*): (#(#types,)*) = #call.arguments()?;
            let #result = #call.#run(#object, |#object| #object.#name(#(#passed),*))?;
            #call.answer(&#result)
        }
    })
}
