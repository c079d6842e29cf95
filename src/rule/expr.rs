//! Expressions of rules, in the Common Expression Language: compiled once, evaluated per window.
//!
//! The language has no loops without bounds, no I/O and no clock. What the library leaves open is closed here: the length
//! of the source, the depth of the expression (its parser and evaluator recurse), the nesting of comprehensions (cost), and
//! maps as the range of a comprehension (their order is not defined).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr};
use cel::{Context, Env, ExecutionError, Program, Value, extensions};
use thiserror::Error;

use super::datum::{Bindings, Datum};

/// Longest source, in bytes: a rule is a condition, not a program, and the parser's work grows with it.
pub const LONGEST_SOURCE: usize = 4096;

/// Greatest depth of an expression. Evaluation recurses once a level and must fit an ordinary thread's stack.
pub const GREATEST_DEPTH: usize = 64;

/// Greatest nesting of comprehensions: with 500 features, two of them are 250,000 steps.
const GREATEST_NESTING: usize = 2;

/// Stack of the thread that parses, in bytes: the parser recurses several deep frames for every level of nesting.
const PARSER_STACK: usize = 16 * 1024 * 1024;

/// Most operators and brackets in a source; it bounds the parser's recursion together with its stack.
const MOST_OPERATORS: usize = 1024;

/// What is wrong with an expression.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExprError {
    /// The source is too long.
    #[error("the expression is longer than {LONGEST_SOURCE} bytes")]
    TooLong,
    /// The source is too deeply nested or has too many operators.
    #[error("the expression is nested too deeply or has too many operators")]
    TooDeep,
    /// Comprehensions within comprehensions within comprehensions.
    #[error("the expression nests more than {GREATEST_NESTING} of all, exists, map and filter")]
    TooCostly,
    /// A comprehension over a map.
    #[error("'{0}' is a map and has no order; all, exists, map and filter need a list")]
    UnorderedRange(String),
    /// The source is not CEL.
    #[error("{0}")]
    Syntax(String),
    /// The parser's thread could not be started or did not come back.
    #[error("the expression could not be parsed: {0}")]
    Parser(String),
    /// A name that is not bound, or a function that there is not.
    #[error("'{0}' is not known here")]
    Unknown(String),
    /// Values of the wrong types for an operator or a function.
    #[error("{0}")]
    Types(String),
    /// A map has no such key.
    #[error("there is no key '{0}'")]
    Key(String),
    /// Anything else that goes wrong with the values at hand, such as a division by zero.
    #[error("{0}")]
    Values(String),
    /// The result has the wrong type.
    #[error("the expression gives {found}, not {wanted}")]
    Result {
        /// What is wanted.
        wanted: &'static str,
        /// What it gives.
        found: String,
    },
    /// The result is not a finite number.
    #[error("the expression gives a number that is not finite")]
    NotFinite,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expr {
    source: String,
    program: Program,
    free: BTreeSet<String>,
}

fn env() -> Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    Arc::clone(ENV.get_or_init(|| {
        let mut env = Env::stdlib();
        // Cannot fail on a fresh environment; without it `math.` functions would merely be unknown.
        let _ = env.add_extension(extensions::math);
        Arc::new(env)
    }))
}

impl Expr {
    /// Compiles `source` on a thread of its own with a large stack.
    ///
    /// # Errors
    /// Where the source is too long, too deep or too costly, or is not CEL.
    pub fn compile(source: &str) -> Result<Expr, ExprError> {
        if source.len() > LONGEST_SOURCE {
            return Err(ExprError::TooLong);
        }
        if source.bytes().filter(|byte| b"+-*/%&|!<>=?:([{.,".contains(byte)).count() > MOST_OPERATORS {
            return Err(ExprError::TooDeep);
        }
        let owned = source.to_owned();
        std::thread::Builder::new()
            .name("expression".into())
            .stack_size(PARSER_STACK)
            .spawn(move || Expr::compile_here(owned))
            .map_err(|error| ExprError::Parser(error.to_string()))?
            .join()
            .map_err(|_| ExprError::Parser("the parser gave up".into()))?
    }

    fn compile_here(source: String) -> Result<Expr, ExprError> {
        let program = env().compile(&source).map_err(|errors| ExprError::Syntax(one_line(&errors.to_string())))?;
        let mut free = BTreeSet::new();
        Walk { free: &mut free, bound: Vec::new() }.expression(program.expression(), 0, 0)?;
        Ok(Expr { source, program, free })
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names that must be bound, without those that comprehensions bind themselves.
    #[must_use]
    pub fn references(&self) -> &BTreeSet<String> {
        &self.free
    }

    /// Evaluates to a finite number.
    ///
    /// # Errors
    /// Where the evaluation fails or gives anything else.
    pub fn number(&self, bindings: &Bindings) -> Result<f64, ExprError> {
        #[allow(clippy::cast_precision_loss)]
        let number = match self.eval(bindings)? {
            Value::Float(number) => number,
            Value::Int(number) => number as f64,
            Value::UInt(number) => number as f64,
            other => return Err(ExprError::Result { wanted: "a number", found: article(&other) }),
        };
        if number.is_finite() { Ok(number) } else { Err(ExprError::NotFinite) }
    }

    /// Evaluates to true or false.
    ///
    /// # Errors
    /// Where the evaluation fails or gives anything else.
    pub fn truth(&self, bindings: &Bindings) -> Result<bool, ExprError> {
        match self.eval(bindings)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(ExprError::Result { wanted: "true or false", found: article(&other) }),
        }
    }

    fn eval(&self, bindings: &Bindings) -> Result<Value, ExprError> {
        let mut context = Context::with_env(env());
        for name in &self.free {
            if let Some(datum) = bindings.0.get(name) {
                context.add_variable_from_value(name.clone(), value(datum));
            }
        }
        self.program.execute(&context).map_err(|error| match error {
            ExecutionError::UndeclaredReference(name) => ExprError::Unknown(name.to_string()),
            ExecutionError::NoSuchOverload(_)
            | ExecutionError::UnexpectedType { .. }
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::UnsupportedTargetType { .. }
            | ExecutionError::NotSupportedAsMethod { .. }
            | ExecutionError::UnsupportedKeyType(_)
            | ExecutionError::InvalidArgumentCount { .. } => ExprError::Types(one_line(&error.to_string())),
            ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
                ExprError::Types(format!("there is no '{operator}' of {} and {}", article(&left), article(&right)))
            }
            ExecutionError::NoSuchKey(key) => ExprError::Key(key.to_string()),
            other => ExprError::Values(one_line(&other.to_string())),
        })
    }
}

/// The maps that expressions see.
const MAPS: [&str; 5] = ["reference", "labels", "window", "feature", "response"];

/// A walk over an expression that finds the free names and refuses what is too deep or too costly.
struct Walk<'a> {
    free: &'a mut BTreeSet<String>,
    bound: Vec<String>,
}

impl Walk<'_> {
    fn expression(&mut self, expr: &IdedExpr, depth: usize, nesting: usize) -> Result<(), ExprError> {
        if depth > GREATEST_DEPTH {
            return Err(ExprError::TooDeep);
        }
        match &expr.expr {
            Ast::Unspecified | Ast::Literal(_) => {}
            Ast::Ident(name) => {
                let name = name.trim_start_matches('.');
                if !name.starts_with('@') && !self.bound.iter().any(|bound| bound == name) {
                    self.free.insert(name.to_owned());
                }
            }
            Ast::Call(call) => {
                if let Some(target) = &call.target {
                    self.expression(target, depth + 1, nesting)?;
                }
                for argument in &call.args {
                    self.expression(argument, depth + 1, nesting)?;
                }
            }
            Ast::Select(select) => self.expression(&select.operand, depth + 1, nesting)?,
            Ast::List(list) => {
                for element in &list.elements {
                    self.expression(element, depth + 1, nesting)?;
                }
            }
            Ast::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr), depth, nesting)?,
            Ast::Struct(fields) => self.entries(fields.entries.iter().map(|entry| &entry.expr), depth, nesting)?,
            Ast::Comprehension(inner) => {
                if nesting >= GREATEST_NESTING {
                    return Err(ExprError::TooCostly);
                }
                match &inner.iter_range.expr {
                    Ast::Ident(name) if MAPS.contains(&name.as_str()) => return Err(ExprError::UnorderedRange(name.clone())),
                    Ast::Map(_) => return Err(ExprError::UnorderedRange("{...}".into())),
                    _ => {}
                }
                self.expression(&inner.iter_range, depth + 1, nesting)?;
                self.expression(&inner.accu_init, depth + 1, nesting)?;
                let before = self.bound.len();
                self.bound.push(inner.iter_var.clone());
                self.bound.extend(inner.iter_var2.clone());
                self.bound.push(inner.accu_var.clone());
                for part in [&inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.expression(part, depth + 1, nesting + 1)?;
                }
                self.bound.truncate(before);
            }
        }
        Ok(())
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>, depth: usize, nesting: usize) -> Result<(), ExprError> {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.expression(&field.value, depth + 1, nesting)?,
                EntryExpr::MapEntry(entry) => {
                    self.expression(&entry.key, depth + 1, nesting)?;
                    self.expression(&entry.value, depth + 1, nesting)?;
                }
            }
        }
        Ok(())
    }
}

fn value(datum: &Datum) -> Value {
    match datum {
        Datum::Null => Value::Null,
        Datum::Truth(truth) => Value::Bool(*truth),
        Datum::Whole(whole) => Value::Int(*whole),
        Datum::Number(number) => Value::Float(*number),
        Datum::Text(text) | Datum::Titled(text, _) => Value::String(Arc::new(text.clone())),
        Datum::List(list) => Value::List(Arc::new(list.iter().map(value).collect())),
        Datum::Map(map) => Value::from(map_of(map)),
    }
}

fn map_of(map: &BTreeMap<String, Datum>) -> HashMap<String, Value> {
    map.iter().map(|(name, datum)| (name.clone(), value(datum))).collect()
}

fn article(value: &Value) -> String {
    match value {
        Value::Bool(_) => "true or false".into(),
        Value::Null => "null".into(),
        other => format!("a {}", other.type_of()),
    }
}

/// The first line of a message of the parser, without its drawing of the source.
fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.trim_start_matches("ERROR: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> Bindings {
        let feature = |name: &str, drifted: bool| {
            Datum::Map(BTreeMap::from([("name".into(), Datum::text(name)), ("drifted".into(), Datum::Truth(drifted))]))
        };
        let mut bindings = Bindings::default();
        bindings
            .set("features", Datum::List(vec![feature("age", true), feature("sex", false), feature("job", true), feature("pay", false)]));
        bindings.set_number("psi", 0.31);
        bindings.set("n", Datum::count(10));
        bindings.set("reference", Datum::Map(BTreeMap::from([("accuracy".into(), Datum::Number(0.9))])));
        bindings
    }

    fn number(source: &str) -> Result<f64, ExprError> {
        Expr::compile(source)?.number(&features())
    }

    #[test]
    fn the_values_of_the_shipped_rules() {
        assert_eq!(number("double(features.filter(f, f.drifted).size()) / double(features.size())"), Ok(0.5));
        assert_eq!(number("psi"), Ok(0.31));
        assert_eq!(number("n + 1"), Ok(11.0));
        assert!((number("reference.accuracy - 0.8").unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(number("math.abs(-2.0)"), Ok(2.0));
        assert_eq!(Expr::compile("psi > 0.1 && 'age' in features.map(f, f.name)").unwrap().truth(&features()), Ok(true));
    }

    #[test]
    fn free_names_are_found_without_those_of_comprehensions() {
        let expr = Expr::compile("features.filter(f, f.drifted && f.psi > limit).size() > 0 && f.x").unwrap();
        let names: Vec<&str> = expr.references().iter().map(String::as_str).collect();
        assert_eq!(names, ["f", "features", "limit"]);
        let expr = Expr::compile("features.exists(f, f.drifted)").unwrap();
        assert_eq!(expr.references().len(), 1);
    }

    #[test]
    fn wrong_types_names_and_values_are_told_apart() {
        assert!(matches!(number("psi > 0.1"), Err(ExprError::Result { .. })));
        assert!(matches!(number("psi + 'a'"), Err(ExprError::Types(_))), "{:?}", number("psi + 'a'"));
        assert_eq!(number("ks"), Err(ExprError::Unknown("ks".into())));
        assert!(matches!(number("sizee(features)"), Err(ExprError::Unknown(_))), "{:?}", number("sizee(features)"));
        assert!(matches!(number("1 / 0"), Err(ExprError::Values(_))));
        assert_eq!(number("reference.f1"), Err(ExprError::Key("f1".into())));
        assert_eq!(number("1.0 / 0.0"), Err(ExprError::NotFinite));
        assert_eq!(number("0.0 / 0.0"), Err(ExprError::NotFinite));
        assert!(matches!(Expr::compile("psi >"), Err(ExprError::Syntax(_))));
        assert!(matches!(Expr::compile(""), Err(ExprError::Syntax(_))));
    }

    #[test]
    fn maps_have_no_order_to_walk_in() {
        assert!(matches!(Expr::compile("reference.map(k, k).size()"), Err(ExprError::UnorderedRange(_))));
        assert!(matches!(Expr::compile("{'a': 1}.map(k, k).size()"), Err(ExprError::UnorderedRange(_))));
    }

    #[test]
    fn three_nested_comprehensions_cost_too_much() {
        assert!(Expr::compile("features.map(a, features.map(b, b.name)).size()").is_ok());
        let three = Expr::compile("features.map(a, features.map(b, features.map(c, c.name))).size()");
        assert_eq!(three.unwrap_err(), ExprError::TooCostly);
        // One after another is not one within another.
        assert!(Expr::compile("features.filter(a, a.drifted).map(b, b.name).filter(c, c != '').size()").is_ok());
    }

    #[test]
    fn hostile_sources_come_back_and_never_overflow_a_stack() {
        for part in ["(", "[", "{1:", "-", "!", "1+", "a.", "f(", "a?b:", "1&&", "x.map(y,", "a[", "\"", "1==", "'a'+"] {
            for source in [part.repeat(LONGEST_SOURCE / part.len()), format!("{}1", part.repeat(MOST_OPERATORS / part.len() - 1))] {
                if let Ok(expr) = Expr::compile(&source) {
                    let _ = expr.number(&features());
                }
            }
        }
        assert_eq!(Expr::compile(&" ".repeat(5000)).unwrap_err(), ExprError::TooLong);
        for (open, close) in [("(", ")"), ("[", "]"), ("{1: ", "}"), ("!(", ")"), ("size([", "])")] {
            let nested = format!("{}1{}", open.repeat(300), close.repeat(300));
            assert!(Expr::compile(&nested).is_err(), "{open}");
        }
    }

    #[test]
    fn the_deepest_expression_evaluates_on_an_ordinary_stack() {
        let source = format!("1{}", "+1".repeat(GREATEST_DEPTH));
        assert_eq!(number(&source), Ok(65.0));
        assert_eq!(number(&format!("{source}+1")), Err(ExprError::TooDeep));
        let not = format!("{}true{} ? 1 : 0", "!(".repeat(40), ")".repeat(40));
        assert_eq!(number(&not), Ok(1.0));
    }
}
