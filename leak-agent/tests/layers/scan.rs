//! One source file as facts: the paths it names, its unsafe code, its comparisons, its modules.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// What the rules need to know of a file.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// Path below `src`.
    pub(crate) path: String,
    /// The module it is: `engine/site.rs` is `[engine, site]`; empty for the root.
    pub(crate) module: Vec<String>,
    /// Paths it names, with `crate`, `self` and `super` resolved to a leading `crate`.
    pub(crate) paths: Vec<Named>,
    /// Lines with an unsafe block, function, trait or impl.
    pub(crate) unsafe_code: Vec<Unsafe>,
    /// Comparisons with a constant, and matches.
    pub(crate) comparisons: Vec<Comparison>,
    /// Modules it declares, with their lines; for a test, those of test code too.
    pub(crate) modules: Vec<(String, usize)>,
    /// Those of them that are test code in a file of their own.
    pub(crate) test_modules: Vec<String>,
}

/// A path in the text.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// Unsafe code.
#[derive(Debug)]
pub(crate) struct Unsafe {
    pub(crate) line: usize,
    /// A block or an impl, which owes a SAFETY line; a function's callers do, not the function.
    pub(crate) owes_reason: bool,
    /// Whether a SAFETY comment stands right above.
    pub(crate) has_reason: bool,
}

/// `left == right`, `left != right`, or `match left { right … }`.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) left: String,
    pub(crate) right: String,
    /// The right side is a literal.
    pub(crate) literal: bool,
    pub(crate) line: usize,
}

/// Every file below `src`.
pub(crate) fn files(src: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    let mut open = vec![src.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let parse = |path: &PathBuf, test| {
        let text = std::fs::read_to_string(path).unwrap();
        let below = path.strip_prefix(src).unwrap();
        File::parse(below, &text, test).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let all: Vec<File> = paths.iter().map(|path| parse(path, false)).collect();
    let tests: BTreeSet<Vec<String>> = all
        .iter()
        .flat_map(|file| {
            file.test_modules.iter().map(|name| {
                let mut module = file.module.clone();
                module.push(name.clone());
                module
            })
        })
        .collect();
    let is_test = |module: &[String]| {
        (1..=module.len()).any(|end| module.get(..end).is_some_and(|head| tests.contains(head)))
    };
    paths
        .iter()
        .zip(&all)
        .map(|(path, file)| parse(path, is_test(&file.module)))
        .collect()
}

impl File {
    /// Scans a text; of test code only the names of modules are kept.
    pub(crate) fn parse(path: &Path, text: &str, test: bool) -> syn::Result<Self> {
        let mut module: Vec<String> = path
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if module
            .last()
            .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
        {
            module.pop();
        }
        let mut scanner = Scanner {
            lines: text.lines().collect(),
            inner: module.clone(),
            imports: BTreeMap::new(),
            file: Self {
                path: path.display().to_string(),
                module,
                ..Self::default()
            },
        };
        scanner.visit_file(&syn::parse_file(text)?);
        let Scanner {
            mut file, imports, ..
        } = scanner;
        for named in &mut file.paths {
            if let Some((first, rest)) = named.segments.split_first()
                && let Some(imported) = imports.get(first)
            {
                named.segments = imported.iter().chain(rest).cloned().collect();
            }
        }
        if test {
            file.paths.clear();
            file.unsafe_code.clear();
            file.comparisons.clear();
        }
        Ok(file)
    }
}

struct Scanner<'text> {
    file: File,
    lines: Vec<&'text str>,
    /// The module at this point of the text, with inline modules.
    inner: Vec<String>,
    /// Imported name → the path it stands for, wherever in the file the import is.
    imports: BTreeMap<String, Vec<String>>,
}

impl Scanner<'_> {
    fn name(&mut self, segments: &[String], span: Span) {
        if let Some(segments) = resolved(&self.inner, segments) {
            self.file.paths.push(Named {
                segments,
                line: span.start().line,
            });
        }
    }

    /// An import: the path, and the name by which the file knows it.
    fn import(&mut self, path: &[String], name: &syn::Ident) {
        self.name(path, name.span());
        if let Some(path) = resolved(&self.inner, path) {
            self.imports.insert(name.to_string(), path);
        }
    }

    fn use_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = prefix.to_vec();
            path.push(name.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.import(&with(&name.ident), &name.ident),
            syn::UseTree::Rename(rename) => self.import(&with(&rename.ident), &rename.rename),
            syn::UseTree::Glob(glob) => self.name(prefix, glob.span()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(prefix, tree)),
        }
    }

    /// The paths in a macro's tokens, and the operands of `matches!` and `assert_eq!`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.macro_path(&mut path, start);
                        start = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.macro_path(&mut path, start);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.macro_path(&mut path, start);
    }

    /// A single word in a macro is no path: it may be anything.
    fn macro_path(&mut self, path: &mut Vec<String>, span: Span) {
        if path.len() > 1 {
            self.name(path, span);
        }
        path.clear();
    }

    fn unsafe_at(&mut self, span: Span, owes_reason: bool) {
        let line = span.start().line;
        self.file.unsafe_code.push(Unsafe {
            line,
            owes_reason,
            has_reason: self.has_reason(line),
        });
    }

    /// A SAFETY comment on the line, or above it with nothing between but the same statement and comments.
    fn has_reason(&self, line: usize) -> bool {
        let above = self.lines.get(..line).unwrap_or_default();
        for (distance, text) in above.iter().rev().map(|text| text.trim()).enumerate() {
            if text.contains("// SAFETY:") {
                return true;
            }
            let comment = text.starts_with("//") || text.starts_with("#[");
            let ends_statement = text.is_empty() || text.ends_with([';', '{', '}']);
            if distance > 0 && !comment && ends_statement {
                return false;
            }
        }
        false
    }

    fn compare(&mut self, left: &str, right: &syn::Expr, span: Span) {
        self.file.comparisons.push(Comparison {
            left: left.to_owned(),
            right: compact(&right.to_token_stream()),
            literal: matches!(right, syn::Expr::Lit(_)),
            line: span.start().line,
        });
    }
}

impl<'ast> Visit<'ast> for Scanner<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.file
            .modules
            .push((item.ident.to_string(), item.span().start().line));
        self.inner.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inner.pop();
    }

    fn visit_file(&mut self, file: &'ast syn::File) {
        for item in &file.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && is_test(&module.attrs)
            {
                self.file.test_modules.push(module.ident.to_string());
            }
        }
        visit::visit_file(self, file);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.name(&segments, path.span());
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        if call.path.is_ident("matches")
            && let Some(left) = first_operand(&call.tokens)
        {
            self.file.comparisons.push(Comparison {
                left,
                right: String::new(),
                literal: true,
                line: call.span().start().line,
            });
        }
        visit::visit_macro(self, call);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if matches!(binary.op, syn::BinOp::Eq(_) | syn::BinOp::Ne(_)) {
            let text = |side: &syn::Expr| compact(&side.to_token_stream());
            self.compare(&text(&binary.left), &binary.right, binary.span());
            self.compare(&text(&binary.right), &binary.left, binary.span());
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        self.file.comparisons.push(Comparison {
            left: compact(&expr.expr.to_token_stream()),
            right: String::new(),
            literal: true,
            line: expr.span().start().line,
        });
        visit::visit_expr_match(self, expr);
    }

    fn visit_expr_unsafe(&mut self, expr: &'ast syn::ExprUnsafe) {
        self.unsafe_at(expr.span(), true);
        visit::visit_expr_unsafe(self, expr);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if matches!(signature.safety, syn::Safety::Unsafe(_)) {
            self.unsafe_at(signature.span(), false);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.unsafety.is_some() {
            self.unsafe_at(item.span(), true);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if item.unsafety.is_some() {
            self.unsafe_at(item.span(), false);
        }
        visit::visit_item_trait(self, item);
    }
}

/// A path from the crate's root; `None` for `super` beyond the root. Other crates' paths stay as they are.
fn resolved(module: &[String], segments: &[String]) -> Option<Vec<String>> {
    let mut base: Option<Vec<String>> = None;
    let mut rest = segments;
    while let Some((first, tail)) = rest.split_first() {
        match first.as_str() {
            "crate" => base = Some(Vec::new()),
            "self" => base = Some(base.unwrap_or_else(|| module.to_vec())),
            "super" => {
                let mut from = base.unwrap_or_else(|| module.to_vec());
                from.pop()?;
                base = Some(from);
            }
            _ => break,
        }
        rest = tail;
    }
    Some(match base {
        Some(base) => ["crate".to_owned()]
            .into_iter()
            .chain(base)
            .chain(rest.iter().cloned())
            .collect(),
        None => rest.to_vec(),
    })
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, syn::Meta::List(list) if compact(&list.tokens) == "test")
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The tokens of a macro up to the first comma.
fn first_operand(tokens: &TokenStream) -> Option<String> {
    let operand: TokenStream = tokens
        .clone()
        .into_iter()
        .take_while(|token| !matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
        .filter(|token| !matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace))
        .collect();
    (!operand.is_empty()).then(|| compact(&operand))
}

/// Tokens as text without spaces.
fn compact(tokens: &TokenStream) -> String {
    tokens.to_string().replace(char::is_whitespace, "")
}
