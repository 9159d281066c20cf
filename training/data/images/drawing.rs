//! Drawing figures: an outline at a point, filled with a texture.
//!
//! An outline is a signed distance: negative inside, zero on the edge. The share of a pixel that a
//! figure covers is then about ½ − the distance in pixels, which gives smooth edges.

use crate::engine::random::Generator;
use std::f32::consts::{PI, TAU};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outline {
    Disc,
    Square,
    Triangle,
    Cross,
    Ring,
}

impl Outline {
    pub(super) const ALL: [Outline; 5] =
        [Outline::Disc, Outline::Square, Outline::Triangle, Outline::Cross, Outline::Ring];

    pub(super) fn name(self) -> &'static str {
        match self {
            Outline::Disc => "disc",
            Outline::Square => "square",
            Outline::Triangle => "triangle",
            Outline::Cross => "cross",
            Outline::Ring => "ring",
        }
    }

    /// The distance to the edge, for a figure of about radius 1 around the origin.
    fn distance(self, x: f32, y: f32) -> f32 {
        let rectangle = |width: f32, height: f32| (x.abs() - width).max(y.abs() - height);
        match self {
            Outline::Disc => x.hypot(y) - 0.95,
            Outline::Square => rectangle(0.85, 0.85),
            Outline::Triangle => {
                let slope = 0.75_f32.sqrt();
                (slope * x.abs() + y / 2.0).max(-y) - 0.6
            }
            Outline::Cross => rectangle(1.0, 0.36).min(rectangle(0.36, 1.0)),
            Outline::Ring => (x.hypot(y) - 0.72).abs() - 0.27,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texture {
    Stripes,
    Checks,
}

impl Texture {
    pub(super) const ALL: [Texture; 2] = [Texture::Stripes, Texture::Checks];

    pub(super) fn name(self) -> &'static str {
        match self {
            Texture::Stripes => "striped",
            Texture::Checks => "chequered",
        }
    }

    /// The share of the second colour at angles `u` and `v` of two waves.
    fn at(self, u: f32, v: f32) -> f32 {
        let wave = match self {
            Texture::Stripes => u.sin(),
            Texture::Checks => u.sin() * v.sin() * 1.5,
        };
        0.5 + (1.5 * wave).clamp(-0.5, 0.5)
    }
}

/// A colour: red, green, blue, each in 0..=1.
pub(super) type Colour = [f32; 3];

/// An outline somewhere, filled.
pub(super) struct Figure {
    pub(super) outline: Outline,
    centre: [f32; 2],
    radius: f32,
    /// Cosine and sine of the outline's angle, and of the texture's.
    turns: [[f32; 2]; 2],
    /// `None` for one colour.
    texture: Option<Texture>,
    /// Radians a pixel.
    frequency: f32,
    phase: [f32; 2],
    /// A dark colour and a light one, or the other way round.
    colours: [Colour; 2],
}

impl Figure {
    /// A figure whose radius is between two numbers of pixels and that lies wholly in the picture;
    /// all the rest is random too.
    pub(super) fn random(
        outline: Outline,
        texture: Option<Texture>,
        radii: [f32; 2],
        [height, width]: [usize; 2],
        generator: &mut Generator,
    ) -> Figure {
        let mut between = |low: f32, high: f32| low + (high - low) * generator.uniform();
        let radius = between(radii[0], radii[1]);
        let centre = [width, height].map(|size| between(radius, size as f32 - radius));
        let turns = [(); 2].map(|()| {
            let angle = between(0.0, TAU);
            [angle.cos(), angle.sin()]
        });
        let frequency = TAU / between(4.0, 7.0);
        let phase = [between(0.0, TAU), between(0.0, TAU)];
        let mut colour = |low: f32, high: f32| [(); 3].map(|()| between(low, high));
        let mut colours = [colour(0.0, 0.35), colour(0.65, 1.0)];
        if generator.below(2) == 1 {
            colours.reverse();
        }
        Figure { outline, centre, radius, turns, texture, frequency, phase, colours }
    }

    /// The share of the pixel around a point that the figure covers.
    pub(super) fn coverage(&self, x: f32, y: f32) -> f32 {
        let [x, y] = turn(self.turns[0], x - self.centre[0], y - self.centre[1]);
        let distance = self.outline.distance(x / self.radius, y / self.radius) * self.radius;
        (0.5 - distance).clamp(0.0, 1.0)
    }

    /// The colour of the texture at a point.
    pub(super) fn colour(&self, x: f32, y: f32) -> Colour {
        let Some(texture) = self.texture else { return self.colours[0] };
        let [u, v] = turn(self.turns[1], x, y);
        let [u, v] = [u * self.frequency + self.phase[0], v * self.frequency + self.phase[1]];
        mix(self.colours[0], self.colours[1], texture.at(u, v))
    }
}

/// What lies behind the figures: a colour that slowly turns into another.
pub(super) struct Background {
    colours: [Colour; 2],
    direction: [f32; 2],
}

impl Background {
    pub(super) fn random([height, width]: [usize; 2], generator: &mut Generator) -> Background {
        let mut colour = || [(); 3].map(|()| 0.3 + 0.4 * generator.uniform());
        let colours = [colour(), colour()];
        let angle = PI * generator.uniform();
        let size = height.max(width) as f32;
        Background { colours, direction: [angle.cos() / size, angle.sin() / size] }
    }

    pub(super) fn colour(&self, x: f32, y: f32) -> Colour {
        let share = 0.5 + 0.5 * (PI * (x * self.direction[0] + y * self.direction[1])).cos();
        mix(self.colours[0], self.colours[1], share)
    }
}

/// `share` of the second colour and the rest of the first.
pub(super) fn mix(first: Colour, second: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| first[channel] + share * (second[channel] - first[channel]))
}

fn turn([cos, sin]: [f32; 2], x: f32, y: f32) -> [f32; 2] {
    [cos * x + sin * y, cos * y - sin * x]
}
