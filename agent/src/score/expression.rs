//! Formulas such as `round(max * exp(-distance_km / scale))`.
//!
//! Parsed here and not by a library, because constants may be called `max` or `round` beside the functions of these names,
//! the functions are those of `libm`, and a formula comes from a file that may be somebody else's: its length and nesting are
//! limited.

use std::collections::BTreeMap;

/// Maximum length of a formula in bytes.
const MAX_BYTES: usize = 500;
/// Maximum nesting of parentheses and signs.
const MAX_DEPTH: usize = 32;

/// A parsed formula of one variable, the distance.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    Number(f64),
    Distance,
    Negative(Box<Expression>),
    Operation(Operator, Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Over,
    Power,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Exp,
    Ln,
    Sqrt,
    Abs,
    Round,
    Floor,
    Ceil,
    Min,
    Max,
}

/// Functions by name.
const FUNCTIONS: [(&str, Function); 9] = [
    ("exp", Function::Exp),
    ("ln", Function::Ln),
    ("sqrt", Function::Sqrt),
    ("abs", Function::Abs),
    ("round", Function::Round),
    ("floor", Function::Floor),
    ("ceil", Function::Ceil),
    ("min", Function::Min),
    ("max", Function::Max),
];

/// The variable of every formula.
pub(super) const DISTANCE_KM: &str = "distance_km";

impl Expression {
    /// Parses a formula with these constants.
    ///
    /// # Errors
    /// What is wrong, and at which character.
    pub(super) fn parse(text: &str, constants: &BTreeMap<String, f64>) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("the formula is longer than {MAX_BYTES} bytes"));
        }
        let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, constants };
        let expression = parser.sum()?;
        match parser.peek() {
            None => Ok(expression),
            Some(rest) => Err(parser.error(&format!("`{rest}` is not expected"))),
        }
    }

    /// The value at a distance in kilometres; it may be infinite or not a number.
    pub(super) fn at(&self, distance_km: f64) -> f64 {
        match self {
            Self::Number(value) => *value,
            Self::Distance => distance_km,
            Self::Negative(of) => -of.at(distance_km),
            Self::Operation(operator, a, b) => operator.apply(a.at(distance_km), b.at(distance_km)),
            Self::Call(function, of) => {
                function.apply(of.iter().map(|of| of.at(distance_km)).collect::<Vec<_>>().as_slice())
            }
        }
    }
}

impl Operator {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Plus => a + b,
            Self::Minus => a - b,
            Self::Times => a * b,
            Self::Over => a / b,
            Self::Power => libm::pow(a, b),
        }
    }
}

impl Function {
    fn apply(self, of: &[f64]) -> f64 {
        let first = of.first().copied().unwrap_or(f64::NAN);
        match self {
            Self::Exp => libm::exp(first),
            Self::Ln => libm::log(first),
            Self::Sqrt => first.sqrt(),
            Self::Abs => first.abs(),
            Self::Round => first.round(),
            Self::Floor => first.floor(),
            Self::Ceil => first.ceil(),
            Self::Min => of.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Max => of.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    fn takes(self, count: usize) -> bool {
        match self {
            Self::Min | Self::Max => count >= 2,
            _ => count == 1,
        }
    }
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    constants: &'a BTreeMap<String, f64>,
}

impl Parser<'_> {
    /// The next character that is not a space.
    fn peek(&mut self) -> Option<char> {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.chars.get(self.at).copied()
    }

    fn takes(&mut self, expected: char) -> bool {
        let is_next = self.peek() == Some(expected);
        self.at += usize::from(is_next);
        is_next
    }

    fn error(&self, what: &str) -> String {
        format!("at character {}: {what}", self.at + 1)
    }

    fn sum(&mut self) -> Result<Expression, String> {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Some('+') => Operator::Plus,
                Some('-' | '\u{2212}') => Operator::Minus,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expression::Operation(operator, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expression, String> {
        let mut left = self.signed()?;
        loop {
            let operator = match self.peek() {
                Some('*' | '·' | '×') => Operator::Times,
                Some('/') => Operator::Over,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expression::Operation(operator, Box::new(left), Box::new(self.signed()?));
        }
    }

    fn signed(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(&format!("the formula is nested more than {MAX_DEPTH} times")));
        }
        let signed = match self.peek() {
            Some('-' | '\u{2212}') => {
                self.at += 1;
                Expression::Negative(Box::new(self.signed()?))
            }
            _ => self.power()?,
        };
        self.depth -= 1;
        Ok(signed)
    }

    fn power(&mut self) -> Result<Expression, String> {
        let base = self.atom()?;
        match self.takes('^') {
            true => Ok(Expression::Operation(Operator::Power, Box::new(base), Box::new(self.signed()?))),
            false => Ok(base),
        }
    }

    fn atom(&mut self) -> Result<Expression, String> {
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.sum()?;
                self.close()?;
                Ok(inner)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name(),
            Some(c) => Err(self.error(&format!("`{c}` is not expected"))),
            None => Err(self.error("the formula is incomplete")),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        if self.takes(')') { Ok(()) } else { Err(self.error("`)` is missing")) }
    }

    fn word(&self, is_part: impl Fn(usize, char) -> bool) -> String {
        self.chars[self.at..].iter().enumerate().take_while(|(i, c)| is_part(*i, **c)).map(|(_, c)| *c).collect()
    }

    fn number(&mut self) -> Result<Expression, String> {
        let before = |i: usize| (self.at + i).checked_sub(1).and_then(|at| self.chars.get(at)).copied();
        let is_sign = |i: usize, c: char| i > 0 && "+-".contains(c) && matches!(before(i), Some('e' | 'E'));
        let text = self.word(|i, c| c.is_ascii_digit() || c == '.' || (i > 0 && "eE".contains(c)) || is_sign(i, c));
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => {
                self.at += text.chars().count();
                Ok(Expression::Number(value))
            }
            _ => Err(self.error(&format!("`{text}` is not a number"))),
        }
    }

    /// A function if an opening parenthesis follows, else the variable or a constant.
    fn name(&mut self) -> Result<Expression, String> {
        let name = self.word(|_, c| c.is_ascii_alphanumeric() || c == '_');
        let start = self.at;
        self.at += name.chars().count();
        if self.takes('(') {
            let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
                self.at = start;
                let known = FUNCTIONS.map(|(name, _)| name).join(", ");
                return Err(self.error(&format!("there is no function `{name}`; the functions are {known}")));
            };
            let mut of = vec![self.sum()?];
            while self.takes(',') {
                of.push(self.sum()?);
            }
            self.close()?;
            if !function.takes(of.len()) {
                self.at = start;
                return Err(self.error(&format!("`{name}` does not take {} values", of.len())));
            }
            return Ok(Expression::Call(*function, of));
        }
        if name == DISTANCE_KM {
            return Ok(Expression::Distance);
        }
        self.constants.get(&name).map(|value| Expression::Number(*value)).ok_or_else(|| {
            self.at = start;
            let known = self.constants.keys().map(|name| format!(", {name}")).collect::<String>();
            self.error(&format!("`{name}` is unknown: define it as a constant. Known are {DISTANCE_KM}{known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn constants() -> BTreeMap<String, f64> {
        BTreeMap::from([("max".to_owned(), 5000.0), ("scale".to_owned(), 2000.0)])
    }

    fn value(text: &str, distance_km: f64) -> f64 {
        Expression::parse(text, &constants()).unwrap_or_else(|error| panic!("{text}: {error}")).at(distance_km)
    }

    #[test]
    fn formulas_are_computed() {
        for (text, expected) in [
            ("1 + 2 * 3", 7.0),
            ("(1 + 2) * 3", 9.0),
            ("10 - 4 - 3", 3.0),
            ("8 / 4 / 2", 1.0),
            ("-2^2", -4.0),
            ("2^-1", 0.5),
            ("2^3^2", 512.0),
            ("1.5e3 + 1e-1 − .4", 1499.7),
            ("max(1, 4, 2) + min(3, 2)", 6.0),
            ("max", 5000.0),
            ("round(2.5) + floor(1.9) + ceil(0.2) + abs(-3)", 8.0),
            ("sqrt(16) · ln(exp(2))", 8.0),
            ("round(max * exp(-distance_km / scale))", 3033.0),
            ("max / (1 + distance_km/250)", 1000.0),
        ] {
            assert!((value(text, 1000.0) - expected).abs() < 1e-9, "{text}: {}", value(text, 1000.0));
        }
    }

    #[test]
    fn errors_say_where_and_what_is_known() {
        for (text, message) in [
            ("", "at character 1: the formula is incomplete"),
            ("2 *", "at character 4: the formula is incomplete"),
            (
                "max * exp(-d / scale)",
                "at character 12: `d` is unknown: define it as a constant. Known are distance_km, max, scale",
            ),
            ("cos(1)", "at character 1: there is no function `cos`; the functions are exp, ln,"),
            ("exp(1, 2)", "at character 1: `exp` does not take 2 values"),
            ("max(1)", "at character 1: `max` does not take 1 values"),
            ("(1 + 2", "at character 7: `)` is missing"),
            ("1 2", "at character 3: `2` is not expected"),
            ("1..2", "at character 1: `1..2` is not a number"),
            ("1e999", "is not a number"),
            ("5 % 3", "at character 3: `%` is not expected"),
            ("é", "at character 1: `é` is not expected"),
        ] {
            let error = Expression::parse(text, &constants()).map(|_| ()).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
        for long in ["(".repeat(400), "-".repeat(400), "2^".repeat(200) + "2", "1+".repeat(300)] {
            assert!(Expression::parse(&long, &constants()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_formula_or_an_error(text in "[a-z0-9_.,()+*/^ eE-]{0,60}") {
            if let Ok(formula) = Expression::parse(&text, &constants()) {
                formula.at(100.0);
            }
        }
    }
}
