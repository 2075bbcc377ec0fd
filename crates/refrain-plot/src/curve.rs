//! From the values of a metric to what is drawn: runs of connected points, and
//! single points that a line would not show.

use crate::scene::Point;

/// A gap narrower than this cannot be seen; its ends are connected.
const VISIBLE_GAP: f64 = 0.5;

/// The drawn form of a series.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Curve {
    /// Connected points, two or more each.
    pub runs: Vec<Vec<Point>>,
    /// Points without a neighbour.
    pub singles: Vec<Point>,
}

/// Connects points that are given from left to right, `None` breaking the line.
///
/// Keeps at most four points per column of pixels, the lowest and highest among them,
/// so that ten thousand epochs look the same and cost as much as the picture is wide.
pub(crate) fn trace(points: impl Iterator<Item = Option<Point>>) -> Curve {
    let mut curve = Curve::default();
    let mut run: Vec<Point> = Vec::new();
    let mut broken = false;
    for point in points {
        let Some(point) = point else {
            broken = true;
            continue;
        };
        let gap = run.last().is_some_and(|last| point.x - last.x >= VISIBLE_GAP);
        if broken && gap {
            curve.finish(std::mem::take(&mut run));
        }
        broken = false;
        run.push(point);
    }
    curve.finish(run);
    curve
}

impl Curve {
    fn finish(&mut self, run: Vec<Point>) {
        match run.as_slice() {
            [] => {}
            [single] => self.singles.push(*single),
            run => self.runs.push(thin(run)),
        }
    }
}

/// The first, lowest, highest and last point of each column of pixels, in order.
fn thin(run: &[Point]) -> Vec<Point> {
    let mut kept = Vec::new();
    for column in run.chunk_by(|a, b| a.x.floor() == b.x.floor()) {
        if column.len() <= 4 {
            kept.extend_from_slice(column);
            continue;
        }
        let by_height = |(_, a): &(usize, &Point), (_, b): &(usize, &Point)| a.y.total_cmp(&b.y);
        let points = || column.iter().enumerate();
        let mut places = [
            Some(0),
            points().min_by(by_height).map(|(place, _)| place),
            points().max_by(by_height).map(|(place, _)| place),
            column.len().checked_sub(1),
        ];
        places.sort_unstable();
        let mut before = None;
        for place in places.into_iter().flatten() {
            if before != Some(place) {
                kept.extend(column.get(place));
            }
            before = Some(place);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(heights: &[Option<f64>], expected: &str) {
        let curve = trace(
            heights.iter().enumerate().map(|(x, y)| y.map(|y| Point { x: x as f64 * 10.0, y })),
        );
        let run = |run: &Vec<Point>| {
            run.iter().map(|point| point.y.to_string()).collect::<Vec<_>>().join("-")
        };
        let mut parts: Vec<_> = curve.runs.iter().map(run).collect();
        parts.extend(curve.singles.iter().map(|point| format!("({})", point.y)));
        assert_eq!(parts.join(" "), expected, "{heights:?}");
    }

    #[test]
    fn gaps_break_the_line_and_lonely_points_are_kept() {
        let gap = None;
        check(&[Some(1.0), Some(2.0), Some(3.0)], "1-2-3");
        check(&[Some(1.0), Some(2.0), gap, Some(3.0), Some(4.0)], "1-2 3-4");
        check(&[gap, Some(1.0), gap, gap, Some(2.0), Some(3.0), gap], "2-3 (1)");
        check(&[Some(1.0)], "(1)");
        check(&[gap, gap], "");
        check(&[], "");
    }

    #[test]
    fn many_points_keep_their_extremes() {
        let points: Vec<_> = (0..100_000)
            .map(|i| Point { x: f64::from(i) / 1000.0, y: f64::from(i * 7919 % 1009) })
            .collect();
        let curve = trace(points.iter().copied().map(Some));
        let [run] = curve.runs.as_slice() else { panic!("{} runs", curve.runs.len()) };
        assert!(run.len() <= 400, "{}", run.len());
        assert!(run.is_sorted_by(|a, b| a.x < b.x));
        assert_eq!(run.first(), points.first());
        assert_eq!(run.last(), points.last());
        for column in run.chunk_by(|a, b| a.x.floor() == b.x.floor()) {
            let heights = || column.iter().map(|point| point.y);
            assert_eq!(heights().fold(f64::MAX, f64::min), heights().fold(f64::MAX, f64::min));
            assert!(heights().any(|y| y == 0.0) || heights().fold(f64::MAX, f64::min) < 10.0);
            assert!(heights().fold(f64::MIN, f64::max) > 998.0);
        }
    }

    #[test]
    fn gaps_that_cannot_be_seen_do_not_multiply_the_runs() {
        let points = (0..100_000)
            .map(|i| (i % 2 == 0).then_some(Point { x: f64::from(i) / 1000.0, y: 1.0 }));
        assert_eq!(trace(points).runs.len(), 1);
    }
}
