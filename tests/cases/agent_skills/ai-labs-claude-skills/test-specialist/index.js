export default async function test_specialist(input) {
  console.log("🧠 Running skill: test-specialist");
  
  // TODO: implement actual logic for this skill
  return {
    message: "Skill 'test-specialist' executed successfully!",
    input
  };
}
