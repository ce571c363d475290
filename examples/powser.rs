//! Power series whose coefficients are computed when somebody asks for them, by coroutines: Go's old test, after M.
//! Douglas McIlroy, "Squinting at Power Series" (1990).
//!
//! ```text
//! cargo run --release --example powser              the first 12 coefficients of some series
//! cargo run --release --example powser -- 20        as many as you like, as long as they fit
//! ```
//!
//! A series is the receiving end of a rendezvous channel. Who makes it waits until somebody wants a coefficient (a sender
//! is something that a `select!` can wait for) and only then asks the series that it is made of. So series may be infinite, and
//! defined by themselves: the exponential is the integral of itself.
//!
//! Nothing ends such a circle from inside. So all coroutines of a computation are in one group, whose scope ends them.

use gort::channel::{self, Receiver, Select, Sender};
use gort::context::ContextError;
use gort::group::{Group, GroupScope};
use gort::select;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Add, Mul, Neg};

/// A fraction in lowest terms, its denominator positive.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fraction(i128, i128);

impl Fraction {
    const ZERO: Fraction = Fraction(0, 1);
    const ONE: Fraction = Fraction(1, 1);

    fn new(numerator: i128, denominator: i128) -> Fraction {
        let (mut a, mut b) = (numerator.abs(), denominator.abs());
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let sign = denominator.signum();
        Fraction(sign * numerator / a, sign * denominator / a)
    }
}

impl Add for Fraction {
    type Output = Fraction;
    fn add(self, other: Fraction) -> Fraction {
        Fraction::new(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }
}

impl Mul for Fraction {
    type Output = Fraction;
    fn mul(self, other: Fraction) -> Fraction {
        Fraction::new(self.0 * other.0, self.1 * other.1)
    }
}

impl Neg for Fraction {
    type Output = Fraction;
    fn neg(self) -> Fraction {
        Fraction(-self.0, self.1)
    }
}

impl fmt::Debug for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            1 => write!(f, "{}", self.0),
            denominator => write!(f, "{}/{denominator}", self.0),
        }
    }
}

type Series = Receiver<Fraction>;

/// Where a series' coefficients go.
struct Out(Sender<Fraction>);

impl Out {
    /// Waits until somebody wants the next coefficient. Nobody ever may: then this is ended with the group.
    fn wanted(&self) {
        let wanted = &self.0;
        select! {
            wait(wanted) => {}
        }
    }

    /// Gives it, made now.
    fn put(&self, make: impl FnOnce() -> Option<Fraction>) -> Option<()> {
        self.wanted();
        self.0.send(make()?).ok()
    }

    /// Goes on as `series` does.
    fn copy(&self, series: &Series) -> Option<()> {
        loop {
            self.put(|| get(series))?;
        }
    }
}

/// The next coefficient. There is always one, but at the end of the computation: whoever made it may end before who wants it.
fn get(series: &Series) -> Option<Fraction> {
    series.recv().ok()
}

/// Where the coroutines live that make series.
#[derive(Clone, Copy)]
struct World<'scope, 'env>(GroupScope<'scope, 'env, ContextError>);

impl<'scope, 'env> World<'scope, 'env> {
    /// Makes a series on `sender`, until nobody wants it any more: then what `work` does with it comes to None.
    fn make(self, sender: Sender<Fraction>, work: impl FnOnce(&Out) -> Option<()> + Send + 'scope) {
        self.0.go(move || {
            work(&Out(sender));
            Ok(())
        });
    }

    fn series(self, work: impl FnOnce(&Out) -> Option<()> + Send + 'scope) -> Series {
        let (sender, series) = channel::bounded(0);
        self.make(sender, work);
        series
    }

    /// The coefficients that a function gives.
    fn by(self, f: impl Fn(i128) -> Fraction + Send + 'scope) -> Series {
        self.series(move |out| (0..).try_for_each(|n| out.put(|| Some(f(n)))))
    }

    /// F + G.
    fn add(self, f: Series, g: Series) -> Series {
        self.series(move |out| {
            loop {
                out.put(|| Some(get(&f)? + get(&g)?))?;
            }
        })
    }

    /// c F.
    fn scale(self, c: Fraction, f: Series) -> Series {
        self.series(move |out| {
            loop {
                out.put(|| Some(c * get(&f)?))?;
            }
        })
    }

    /// x F.
    fn shift(self, f: Series) -> Series {
        self.series(move |out| {
            out.put(|| Some(Fraction::ZERO))?;
            out.copy(&f)
        })
    }

    /// The derivative.
    fn derive(self, f: Series) -> Series {
        self.series(move |out| {
            out.wanted();
            get(&f)?;
            (1..).try_for_each(|n| out.put(|| Some(Fraction::new(n, 1) * get(&f)?)))
        })
    }

    /// F G. With F = f + xF' and G = g + xG' that is fg + x(fG' + gF' + xF'G').
    fn mul(self, f: Series, g: Series) -> Series {
        self.series(move |out| {
            out.wanted();
            let (f0, g0) = (get(&f)?, get(&g)?);
            out.put(|| Some(f0 * g0))?;
            out.wanted();
            let ([f1, f2], [g1, g2]) = (self.split(f), self.split(g));
            let ends = self.add(self.scale(f0, g1), self.scale(g0, f1));
            out.copy(&self.add(ends, self.shift(self.mul(f2, g2))))
        })
    }

    /// The exponential of F, whose constant term is 0. Its derivative is E F', and its constant term 1: so E is made of itself.
    fn exp(self, f: Series) -> Series {
        let (sender, e) = channel::bounded(0);
        let [result, again] = self.split(e);
        let derivative = self.mul(again, self.derive(f));
        self.make(sender, move |out| {
            out.put(|| Some(Fraction::ONE))?;
            (1..).try_for_each(|n| out.put(|| Some(Fraction::new(1, n) * get(&derivative)?)))
        });
        result
    }

    /// Two series like F, which may be read at different paces: what one has had before the other is kept for that one.
    fn split(self, f: Series) -> [Series; 2] {
        let [(a, series_a), (b, series_b)] = [(); 2].map(|()| channel::bounded(0));
        self.0.go(move || {
            let mut outs = [a, b].map(|out| Some((out, VecDeque::new())));
            let mut asked = false;
            while outs.iter().any(Option::is_some) {
                let mut select = Select::new();
                let source = asked.then(|| select.recv(&f));
                // Those that can be served, or can ask.
                let cases: Vec<(usize, usize)> = (0..2)
                    .filter_map(|side| match &outs[side] {
                        Some((out, kept)) if !asked || !kept.is_empty() => Some((select.wait(out), side)),
                        _ => None,
                    })
                    .collect();
                // While `f` is asked, too: it may be made of what one of the two gets.
                let chosen = select.select();
                let index = chosen.index();
                if Some(index) == source {
                    let Ok(next) = chosen.recv(&f) else { break };
                    outs.iter_mut().flatten().for_each(|(_, kept)| kept.push_back(next));
                    asked = false;
                    continue;
                }
                drop((chosen, select));
                let side = cases.iter().find(|case| case.0 == index).expect("one of them").1;
                let (out, kept) = outs[side].as_mut().expect("it had a case");
                match kept.pop_front() {
                    Some(next) if out.send(next).is_err() => outs[side] = None,
                    Some(_) => {}
                    None => asked = true,
                }
            }
            Ok(())
        });
        [series_a, series_b]
    }
}

/// The first `count` coefficients of what `make` makes.
fn first(count: usize, make: impl FnOnce(World<'_, '_>) -> Series) -> Vec<Fraction> {
    let mut coefficients = Vec::new();
    let ended = Group::new().scope(|group| {
        let series = make(World(group));
        coefficients.extend((0..count).map_while(|_| get(&series)));
        group.cancel();
        Ok(())
    });
    // Somebody is always left who waits to be asked for more.
    assert_eq!(ended, Err(ContextError::Cancelled));
    coefficients
}

fn main() {
    let count = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("how many coefficients"),
        None => 12,
    };
    let factorial = |n: i128| (1..=n).product::<i128>();
    let known = |f: &dyn Fn(i128) -> Fraction| (0..count as i128).map(f).collect::<Vec<_>>();
    let x = |n| if n == 1 { Fraction::ONE } else { Fraction::ZERO };
    let ones = |_| Fraction::ONE;
    gort::run(|| {
        let check = |name, computed: Vec<Fraction>, known| {
            println!("powser: {name:<16} {computed:?}");
            assert_eq!(computed, known, "{name}");
        };
        check("1/(1-x) + x", first(count, |w| w.add(w.by(ones), w.by(x))), known(&|n| ones(n) + x(n)));
        let square = first(count, |w| {
            let [f, g] = w.split(w.by(ones));
            w.mul(f, g)
        });
        check("1/(1-x)^2", square, known(&|n| Fraction(n + 1, 1)));
        check("exp(x)", first(count, |w| w.exp(w.by(x))), known(&|n| Fraction::new(1, factorial(n))));
        let one = first(count, |w| w.mul(w.exp(w.by(x)), w.exp(w.by(move |n| -x(n)))));
        check("exp(x) exp(-x)", one, known(&|n| if n == 0 { Fraction::ONE } else { Fraction::ZERO }));
        // How many permutations of n things are their own inverse, over n!.
        let halves = move |n| if n == 2 { Fraction(1, 2) } else { x(n) };
        let involutions = |n: i128| (1..=n).fold((1, 0), |(a, b), n| (a + (n - 1) * b, a)).0;
        let expected = known(&|n| Fraction::new(involutions(n), factorial(n)));
        check("exp(x + x^2/2)", first(count, |w| w.exp(w.by(halves))), expected);
    });
}
